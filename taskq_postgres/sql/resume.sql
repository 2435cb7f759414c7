update {schema}.queue set paused_reason = null, paused_until = null where name = %b::text
