-- All that is known of a task: id.
select {record} from {schema}.record r where r.id = %b::text::uuid limit 1
