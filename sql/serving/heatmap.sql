-- Ages are counted by whoever reads this, from the instants.
select
    c.location, c.latitude, c.longitude, c.observed_at, c.aqi_value, c.aqi_category, c.aqi_observed_at,
    c.aqi_measured_at, c.dominant_pollutant, c.pollutants::text, c.attributions::text, c.traffic_level,
    c.traffic_observed_at, c.current_speed, c.free_flow_speed, c.congestion_ratio, c.road_closure,
    coalesce(
        extract(hour from c.observed_at at time zone d.timezone)::integer = any((select peak_city_hours())::integer[]),
        false
    ),
    c.layer
from current_conditions c
cross join deployment d
order by c.location
