-- By position, never by clock: city days with a closed hour of which realtime_data holds something, or whose highest
-- stored position is not covered; and days that were published after one of their tables was computed.
with positions as (
    select stored.hour_start, stored.city_date, stored.log_partition, stored.max_offset as log_offset
    from raw_hours stored
    left join batch_coverage covered using (hour_start, log_partition)
    where stored.max_offset >= coalesce(covered.next_offset, 0)
    union all
    select live.hour_start, live.date, p.id, newest.log_offset
    from (select distinct hour_start, date from realtime_hourly) live
    cross join log_partitions p
    cross join lateral (
        select log_offset
        from realtime_data
        where hour_start = live.hour_start and log_partition = p.id
        order by log_offset desc
        limit 1
    ) newest
),
hours as (
    select
        city_date,
        count(distinct hour_start)::integer as hours,
        string_agg(hour_start || ' ' || log_partition || '@' || log_offset, ' '
            order by hour_start, log_partition, log_offset) as positions
    from positions
    where hour_start + interval '1 hour' <= :closed_at
    group by city_date
),
published as (
    select city_date, max(publication) as publication, max(published_at) as published_at
    from published_hours
    group by city_date
),
tables as (
    select published.city_date, published.publication
    from published
    cross join unnest(cast(:tables as text[])) as wanted(table_name)
    left join computed_days computed using (city_date, table_name)
    where published.published_at <= :closed_at
      and published.publication > coalesce(computed.publication, 0)
    group by published.city_date, published.publication
)
select
    city_date,
    coalesce(hours.hours, 0),
    md5(coalesce(hours.positions, '') || ' ' || coalesce(tables.publication, 0))
from hours
full join tables using (city_date)
order by city_date
