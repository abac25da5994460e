-- Per location the newest observation of all, the newest with an AQI and the newest with traffic.
insert into incoming (
    location, timestamp, latitude, longitude, aqi_value, traffic_level, current_speed, free_flow_speed, log_partition,
    log_offset
)
select
    place.name, newest.timestamp, newest.latitude, newest.longitude, newest.aqi_value, newest.traffic_level,
    newest.current_speed, newest.free_flow_speed, newest.log_partition, newest.log_offset
from locations place
cross join lateral (
    (select * from raw_data where location = place.name and log_partition = :log_partition
        order by timestamp desc limit 1)
    union all
    (select * from raw_data where location = place.name and log_partition = :log_partition and aqi_value is not null
        order by timestamp desc limit 1)
    union all
    (select * from raw_data where location = place.name and log_partition = :log_partition
        and (traffic_level is not null or current_speed is not null)
        order by timestamp desc limit 1)
) newest
