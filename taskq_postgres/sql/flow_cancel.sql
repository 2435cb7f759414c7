-- Cancel a flow: id, reason.
select {schema}.flow_cancel_v1(%b::text::uuid, %b::text)
