-- Late observations of a day beside its archive's rows: each that is none of them, with its position; the first stored
-- values of a key never change. Counted like any other row, so that its hour is stale.
with inserted as (
    insert into dropped_rows (
        location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
        current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants, source, log_partition,
        log_offset, created_at
    )
    select
        location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
        current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants::jsonb, source,
        log_partition, log_offset, now()
    from incoming
    where city_date = :day
    order by log_offset
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
select log_offset from inserted
