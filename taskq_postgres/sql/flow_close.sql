-- No more members of a flow come from outside: id.
select {schema}.flow_close_v1(%b::text::uuid)
