-- Whether a run is settled: id, fence, worker. Null while somebody holds its task.
select {schema}.is_settled_v1(%b::text::uuid, %b::bigint, %b::text)
