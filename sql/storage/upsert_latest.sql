-- In key order, so that two daemons that upsert the same places wait for each other instead of dead-locking.
insert into latest_observations as latest (
    location, observed_at, latitude, longitude,
    aqi_value, aqi_observed_at, aqi_measured_at, dominant_pollutant, pollutants, attributions,
    traffic_level, traffic_observed_at, current_speed, free_flow_speed, road_closure
)
select
    newest.location, newest.timestamp, newest.latitude, newest.longitude,
    air.aqi_value, air.timestamp, air.aqi_measured_at, air.dominant_pollutant, air.pollutants::jsonb,
    air.attributions::jsonb,
    road.traffic_level, road.timestamp, road.current_speed, road.free_flow_speed, road.road_closure
from (
    select distinct on (location) location, timestamp, latitude, longitude
    from incoming
    order by location, timestamp desc, log_partition, log_offset
) newest
left join (
    select distinct on (location)
        location, timestamp, aqi_value, aqi_measured_at, dominant_pollutant, pollutants, attributions
    from incoming
    where aqi_value is not null
    order by location, timestamp desc, log_partition, log_offset
) air using (location)
left join (
    select distinct on (location)
        location, timestamp, traffic_level, current_speed, free_flow_speed, road_closure
    from incoming
    where traffic_level is not null or current_speed is not null
    order by location, timestamp desc, log_partition, log_offset
) road using (location)
order by newest.location
on conflict (location) do update set
    observed_at = greatest(latest.observed_at, excluded.observed_at),
    latitude = case when excluded.observed_at > latest.observed_at
        then coalesce(excluded.latitude, latest.latitude) else coalesce(latest.latitude, excluded.latitude) end,
    longitude = case when excluded.observed_at > latest.observed_at
        then coalesce(excluded.longitude, latest.longitude) else coalesce(latest.longitude, excluded.longitude) end,
    aqi_value = case when excluded.aqi_observed_at > coalesce(latest.aqi_observed_at, '-infinity')
        then excluded.aqi_value else latest.aqi_value end,
    aqi_observed_at = case when excluded.aqi_observed_at > coalesce(latest.aqi_observed_at, '-infinity')
        then excluded.aqi_observed_at else latest.aqi_observed_at end,
    aqi_measured_at = case when excluded.aqi_observed_at > coalesce(latest.aqi_observed_at, '-infinity')
        then excluded.aqi_measured_at else latest.aqi_measured_at end,
    dominant_pollutant = case when excluded.aqi_observed_at > coalesce(latest.aqi_observed_at, '-infinity')
        then excluded.dominant_pollutant else latest.dominant_pollutant end,
    pollutants = case when excluded.aqi_observed_at > coalesce(latest.aqi_observed_at, '-infinity')
        then excluded.pollutants else latest.pollutants end,
    attributions = case when excluded.aqi_observed_at > coalesce(latest.aqi_observed_at, '-infinity')
        then excluded.attributions else latest.attributions end,
    traffic_level = case when excluded.traffic_observed_at > coalesce(latest.traffic_observed_at, '-infinity')
        then excluded.traffic_level else latest.traffic_level end,
    traffic_observed_at = case when excluded.traffic_observed_at > coalesce(latest.traffic_observed_at, '-infinity')
        then excluded.traffic_observed_at else latest.traffic_observed_at end,
    current_speed = case when excluded.traffic_observed_at > coalesce(latest.traffic_observed_at, '-infinity')
        then excluded.current_speed else latest.current_speed end,
    free_flow_speed = case when excluded.traffic_observed_at > coalesce(latest.traffic_observed_at, '-infinity')
        then excluded.free_flow_speed else latest.free_flow_speed end,
    road_closure = case when excluded.traffic_observed_at > coalesce(latest.traffic_observed_at, '-infinity')
        then excluded.road_closure else latest.road_closure end,
    updated_at = now()
