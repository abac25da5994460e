-- The worst hour and place of each day; ties go to the earlier hour, then to the name.
insert into peak_hours (
    analysis_date, peak_aqi_hour, peak_aqi_value, peak_aqi_location,
    peak_traffic_hour, peak_traffic_value, peak_traffic_location
)
select
    day.date, air.hour, air.avg_aqi, air.location, road.hour, road.avg_traffic, road.location
from (
    select distinct date from batch_aggregations where hour is not null and date >= :first and date < :until
) day
left join lateral (
    select hour, avg_aqi, location
    from batch_aggregations
    where hour is not null and date = day.date and aqi_count > 0
    order by avg_aqi desc, hour_start, location
    limit 1
) air on true
left join lateral (
    select hour, avg_traffic, location
    from batch_aggregations
    where hour is not null and date = day.date and traffic_count > 0
    order by avg_traffic desc, hour_start, location
    limit 1
) road on true
on conflict (analysis_date) do update set
    peak_aqi_hour = excluded.peak_aqi_hour,
    peak_aqi_value = excluded.peak_aqi_value,
    peak_aqi_location = excluded.peak_aqi_location,
    peak_traffic_hour = excluded.peak_traffic_hour,
    peak_traffic_value = excluded.peak_traffic_value,
    peak_traffic_location = excluded.peak_traffic_location,
    created_at = now()
