-- Sum up what statements have counted: limit.
select {schema}.sum_up_v1(%b::int)
