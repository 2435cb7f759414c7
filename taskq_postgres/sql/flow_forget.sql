-- Forget a flow: id.
select {schema}.flow_forget_v1(%b::text::uuid)
