-- Set what a tenant may have: its name, weight (null: nothing is set), most running, rate, most unfinished, most bytes, its
-- limits.
select {schema}.set_quota_v1(%b::text, %b::float8, %b::int, %b::text, %b::bigint, %b::bigint, %b::text)
