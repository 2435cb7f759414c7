-- Count the waiting tasks of a large queue, for those who enqueue.
select {schema}.count_v1(%b::text)
