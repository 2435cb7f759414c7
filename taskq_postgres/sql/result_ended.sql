-- How tasks ended, those that have: ids.
select id::text, state, case when settled_fence > 0 then settled_fence else fence end, result, failure, reason
from {schema}.record where id = any(%b::text[]::uuid[]) and state >= 10
