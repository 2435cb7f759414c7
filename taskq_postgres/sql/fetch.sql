-- Claim: queues, limit, worker, request, lease, aging, cursors, number of an older claim.
-- The last row has no id, but the claim's number, the tasks that expired, and the queues whose running tasks are counted.
select place, id::text, name, body, queue, priority, fence, attempt, lost_leases, worker, max_lost_leases, dead_letter,
    tenant, age, limited, waited, seq, plain, next_due, ended::text[], counted
from {schema}.claim_v1(%b::text[], %b::int, %b::text, %b::text, %b::float8, %b::float8, %b::bigint[], %b::bigint)
