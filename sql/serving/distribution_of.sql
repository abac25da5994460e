-- Of chosen locations alone.
with bands as materialized (select aqi_limits() as limits),
ranked as materialized (
    select aqi_rank(avg_aqi, limits) as aqi_rank, traffic_rank(avg_traffic) as traffic_rank
    from served_hourly
    cross join bands
    where hour_start >= :start_at and hour_start < :end_at and location = any(:locations)
),
counted as (
    select 'aqi' as measure, aqi_rank as rank, count(*) as hours from ranked group by aqi_rank
    union all
    select 'traffic', traffic_rank, count(*) from ranked group by traffic_rank
)
select measure, band, rank, coalesce(hours, 0)
from measure_bands
left join counted using (measure, rank)
order by measure, rank
