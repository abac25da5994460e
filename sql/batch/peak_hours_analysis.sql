insert into peak_hours_analysis (
    date, hour, hour_start, location, avg_traffic_level, avg_aqi_value, is_peak_hour, total_records
)
select date, hour, hour_start, location, avg_traffic, avg_aqi, is_peak_hour(hour), data_points_count
from batch_aggregations
where hour is not null and date >= :first and date < :until
on conflict (hour_start, location) do update set
    avg_traffic_level = excluded.avg_traffic_level,
    avg_aqi_value = excluded.avg_aqi_value,
    is_peak_hour = excluded.is_peak_hour,
    total_records = excluded.total_records,
    updated_at = now()
