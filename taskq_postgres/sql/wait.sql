-- Whether a claim from these queues might find something.
select {schema}.is_ready_v1(%b::text[])
