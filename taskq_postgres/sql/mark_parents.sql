-- Note of tasks that others wait for them.
with marked as (
    update {schema}.task t set has_children = true where t.has_children is not true and t.id in (
        select substr(x, 2)::uuid from {schema}.task k, unnest(string_to_array(k.parents, ',')) x
            where k.id = any(%(ids)b::uuid[]) and k.state = 3) returning 1
)
select count(*) from marked
