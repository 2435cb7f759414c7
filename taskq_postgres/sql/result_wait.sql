-- How a task ended: id.
select state, case when settled_fence > 0 then settled_fence else fence end, result, failure, reason
from {schema}.record where id = %b::text::uuid limit 1
