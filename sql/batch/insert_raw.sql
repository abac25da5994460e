-- The first stored values and position of a key never change. A position that is a dead letter stays one.
with dead as materialized (
    select d.log_partition, d.log_offset
    from unnest(cast(:partitions as smallint[]), cast(:starts as bigint[]), cast(:ends as bigint[]))
        as chunk(log_partition, first, until)
    cross join lateral (
        select log_partition, log_offset
        from dead_letters
        where log_partition = chunk.log_partition and log_offset >= chunk.first and log_offset < chunk.until
        offset 0
    ) d
),
inserted as (
    insert into raw_data (
        location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
        current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants, source,
        log_partition, log_offset
    )
    select
        location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
        current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants::jsonb, source,
        log_partition, log_offset
    from incoming i
    where not exists (select from dead d where d.log_partition = i.log_partition and d.log_offset = i.log_offset)
    order by location, timestamp, log_partition, log_offset
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
