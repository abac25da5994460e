-- An hour that the speed layer holds something of is counted location by location, from both layers; of every other
-- hour the publish has counted.
with held as materialized (
    select distinct hour_start from realtime_hourly where hour_start >= :start_at and hour_start < :end_at
),
published as materialized (
    select aqi_locations, traffic_locations
    from city_hourly city
    where city.hour_start >= :start_at and city.hour_start < :end_at
      and not exists (select from held where held.hour_start = city.hour_start)
),
bands as materialized (select aqi_limits() as limits),
merged as materialized (
    select aqi_rank(hourly.avg_aqi, limits)::bigint as aqi_rank, traffic_rank(hourly.avg_traffic)::bigint as traffic_rank
    from held
    cross join bands
    cross join lateral (  -- hour by hour, by the index
        select avg_aqi, avg_traffic from served_hourly where served_hourly.hour_start = held.hour_start offset 0
    ) hourly
),
counted as (
    select 'aqi' as measure, of_band.rank, of_band.locations
    from published cross join lateral unnest(aqi_locations) with ordinality of_band (locations, rank)
    union all
    select 'traffic', of_band.rank, of_band.locations
    from published cross join lateral unnest(traffic_locations) with ordinality of_band (locations, rank)
    union all
    select 'aqi', aqi_rank, count(*) from merged group by aqi_rank
    union all
    select 'traffic', traffic_rank, count(*) from merged group by traffic_rank
)
select measure, band, rank, coalesce(sum(counted.locations), 0)::bigint
from measure_bands
left join counted using (measure, rank)
group by measure, band, rank
order by measure, rank
