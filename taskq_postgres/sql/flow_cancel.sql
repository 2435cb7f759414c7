-- Cancel a flow: id, reason, whether only while it is not closed.
select {schema}.flow_cancel_v1(%b::text::uuid, %b::text, %b::bool)
