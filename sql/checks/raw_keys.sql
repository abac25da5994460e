-- Every part of raw_data enforces its key, and every column that a position or an hour rests on is there.
with parts as (
    select inhrelid as part from pg_inherits where inhparent = 'raw_data'::regclass
    union all
    select 'raw_data'::regclass::oid
),
keyed as (
    select i.indrelid as part
    from pg_index i
    where i.indisprimary and i.indisvalid
      and (select array_agg(a.attname::text order by a.attname) from pg_attribute a
           where a.attrelid = i.indrelid and a.attnum = any(i.indkey::smallint[])) = array['location', 'timestamp']
),
required as (
    select unnest(array['location', 'timestamp', 'hour_start', 'city_date', 'log_partition', 'log_offset']) as attname
)
select
    (select count(*) from parts where part not in (select part from keyed)) as without_key,
    (select count(*) from parts cross join required
     where not exists (select from pg_attribute a
                       where a.attrelid = parts.part and a.attname = required.attname and a.attnotnull)) as nullable,
    (select count(*) from parts) - 1 as months
