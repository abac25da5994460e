-- The first system's averages beside ours. Its hours and days are UTC's, so ours are compared by the same instants.
-- Replaced at every upgrade of a database that has them.
create or replace view legacy.hourly_comparison as
select
    coalesce(old.hour_start, ours.hour_start) as hour_start,
    coalesce(old.location, ours.location) as location,
    old.date as old_date,
    old.hour as old_hour,
    ours.date,
    ours.hour,
    old.avg_aqi as old_avg_aqi,
    ours.avg_aqi,
    old.avg_traffic as old_avg_traffic,
    ours.avg_traffic,
    old.data_points_count as old_data_points_count,
    ours.data_points_count,
    old.is_peak_hour as old_is_peak_hour,
    ours.is_peak_hour
from (
    select
        (date + make_interval(hours => hour::integer)) at time zone 'UTC' as hour_start, date, hour::integer as hour,
        location::text as location, avg_aqi::double precision as avg_aqi,
        avg_traffic::double precision as avg_traffic, data_points_count::bigint as data_points_count, flag as is_peak_hour
    from (select null::boolean as is_peak_hour) as lacking  -- a column that early versions do not have
    cross join lateral (
        select date, hour, location, avg_aqi, avg_traffic, data_points_count, is_peak_hour as flag
        from legacy.batch_aggregations
        where hour is not null
    ) as stored
) old
full join (
    select * from batch_aggregations where hour is not null
) ours on ours.hour_start = old.hour_start and ours.location = old.location;

create or replace view legacy.daily_comparison as
select
    old.date,
    old.location::text as location,
    old.avg_aqi::double precision as old_avg_aqi,
    ours.avg_aqi,
    old.avg_traffic::double precision as old_avg_traffic,
    ours.avg_traffic,
    old.data_points_count::bigint as old_data_points_count,
    ours.data_points_count
from legacy.batch_aggregations old
left join (
    select
        (hour_start at time zone 'UTC')::date as date,
        location,
        sum(aqi_sum)::double precision / nullif(sum(aqi_count), 0)::double precision as avg_aqi,
        sum(traffic_sum)::double precision / nullif(sum(traffic_count), 0)::double precision as avg_traffic,
        sum(data_points_count)::bigint as data_points_count
    from batch_aggregations
    where hour is not null
    group by 1, 2
) ours on ours.date = old.date and ours.location = old.location
where old.hour is null;

grant select on legacy.hourly_comparison, legacy.daily_comparison to lambda_reader, lambda_writer;
