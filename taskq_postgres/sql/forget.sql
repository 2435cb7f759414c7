-- Forget what is remembered for a while: at most so many of each kind; returns the most that went of one.
select {schema}.forget_v1(%b::int)
