-- Take back that a flow was cancelled: id.
select {schema}.flow_reopen_v1(%b::text::uuid)
