with places as materialized (  -- so that they are joined by hash: the planner expects few rows of a union's hour
    select
        coalesce(place.name, latest.location) as location,
        coalesce(place.latitude, latest.latitude) as latitude,
        coalesce(place.longitude, latest.longitude) as longitude
    from locations place
    full join latest_observations latest on latest.location = place.name
),
bands as materialized (select aqi_limits() as limits, aqi_categories() as categories)
select
    hourly.location, places.latitude, places.longitude, hourly.avg_aqi,
    coalesce(bands.categories[aqi_rank(hourly.avg_aqi, bands.limits)], 'Unknown'),
    hourly.aqi_count, hourly.avg_traffic, hourly.traffic_count, hourly.avg_speed, hourly.data_points_count,
    hourly.is_peak_hour, hourly.layer
from served_hourly hourly
cross join bands
left join places on places.location = hourly.location
where hourly.hour_start = :hour_start
order by hourly.location
