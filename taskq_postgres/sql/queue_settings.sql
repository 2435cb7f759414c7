-- What holds for a queue now.
select max_finished, max_size, warn_at, workers, rate::text, weight, retry, timeout, soft_timeout, expires,
    case when paused_until is null or paused_until > clock_timestamp() then paused_reason end,
    case when paused_until > clock_timestamp() then paused_until end
from {schema}.queue where name = %b::text
