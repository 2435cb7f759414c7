-- Take, or keep, a duty: name, who asks, for how many seconds.
select {schema}.take_duty_v1(%b::text, %b::text, %b::float8)
