-- Events for those who cannot listen: topics and data.
insert into {schema}.event (topic, data) select * from unnest(%b::text[], %b::text[])
