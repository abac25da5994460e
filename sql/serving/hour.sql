select
    hourly.location,
    coalesce(place.latitude, latest.latitude),
    coalesce(place.longitude, latest.longitude),
    hourly.avg_aqi,
    coalesce(bands.categories[aqi_rank(hourly.avg_aqi, bands.limits)], 'Unknown'),
    hourly.aqi_count, hourly.avg_traffic, hourly.traffic_count, hourly.avg_speed, hourly.data_points_count,
    hourly.is_peak_hour, hourly.layer
from served_hourly hourly
cross join (select aqi_limits() as limits, aqi_categories() as categories offset 0) bands
left join locations place on place.name = hourly.location
left join latest_observations latest on latest.location = hourly.location
where hourly.hour_start = :hour_start
order by hourly.location
