-- See whether flows have ended.
select count(*) from (select {schema}.look_v1(f, clock_timestamp()) from unnest(%(ids)b::uuid[]) f offset 0) k
