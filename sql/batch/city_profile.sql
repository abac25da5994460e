-- The whole city's average weekday and weekend day over the city days [first, until), weighted by observations. From one
-- row an hour: the averages of every location would take longer than all the rest of an hourly run.
select
    extract(isodow from date) >= 6 as is_weekend,
    hour,
    is_peak_hour(hour) as is_configured,
    sum(avg_traffic * traffic_count) / nullif(sum(traffic_count), 0) as avg_traffic,
    count(distinct date) filter (where traffic_count > 0) as traffic_days,
    sum(avg_aqi * aqi_count) / nullif(sum(aqi_count), 0) as avg_aqi,
    count(distinct date) filter (where aqi_count > 0) as aqi_days
from served_city_hourly
where date >= :first and date < :until
group by is_weekend, hour
order by is_weekend, hour
