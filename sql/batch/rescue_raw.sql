-- Records that left the log before raw_data stored them, as the speed layer still holds them.
with inserted as (
    insert into raw_data (
        location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
        current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants, source,
        log_partition, log_offset
    )
    select
        location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
        current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants, source,
        log_partition, log_offset
    from realtime_data
    where log_partition = :partition and log_offset >= :from and log_offset < :to
    order by location, timestamp
    on conflict (location, timestamp) do nothing
    returning hour_start, city_date, log_partition, log_offset
),
counted as (
    insert into raw_hours as known (hour_start, log_partition, city_date, rows, max_offset)
    select hour_start, log_partition, min(city_date), count(*), max(log_offset)
    from inserted
    group by hour_start, log_partition
    on conflict (hour_start, log_partition) do update set
        rows = known.rows + excluded.rows,
        max_offset = greatest(known.max_offset, excluded.max_offset)
    returning 1
)
select count(*) from inserted
