-- What lies in the schema public, with its columns' kinds of type ("integer", "number", "time", …) by name.
select
    relation.relname as name,
    relation.relkind::text as kind,
    pg_get_userbyid(relation.relowner) as owner,
    pg_has_role(current_user, relation.relowner, 'usage') as is_mine,
    coalesce(
        jsonb_object_agg(
            attribute.attname,
            case
                when type.typname in ('int2', 'int4', 'int8') then 'integer'
                when type.typname in ('numeric', 'float4', 'float8') then 'number'
                when type.typname in ('timestamp', 'timestamptz') then 'time'
                when type.typname = 'date' then 'date'
                when type.typname in ('text', 'varchar', 'bpchar') then 'text'
                else type.typname::text
            end
        ) filter (where attribute.attname is not null),
        '{}'
    ) as columns
from pg_class relation
left join pg_attribute attribute
    on attribute.attrelid = relation.oid and attribute.attnum > 0 and not attribute.attisdropped
left join pg_type type on type.oid = attribute.atttypid
where relation.relnamespace = 'public'::regnamespace and relation.relkind in ('r', 'p', 'v', 'm', 'f')
group by relation.oid, relation.relname, relation.relkind, relation.relowner
order by relation.relname
