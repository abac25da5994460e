-- A month of old rows as records of their own log, with everything that is derived. No two rows of a key contradict
-- each other, so the greatest of a measure is the measure. The catalogue's coordinates win over the rows'. The rules
-- are asked once a value.
with observed as (
    select
        old.location, old.timestamp,
        date_trunc('hour', old.timestamp, :timezone) as hour_start,
        coalesce(
            max(place.latitude),
            (array_agg(old.latitude order by old.table_no) filter (where old.latitude is not null))[1]
        ) as latitude,
        coalesce(
            max(place.longitude),
            (array_agg(old.longitude order by old.table_no) filter (where old.longitude is not null))[1]
        ) as longitude,
        max(old.aqi_value) as aqi_value,
        max(old.traffic_level) as traffic_level,
        max(old.current_speed) as current_speed,
        max(old.free_flow_speed) as free_flow_speed,
        round(
            ((max(old.free_flow_speed) - max(old.current_speed)) / nullif(max(old.free_flow_speed), 0))::numeric, 9
        )::double precision as congestion_ratio,
        coalesce(min(old.created_at), now()) as created_at,
        'legacy:' || string_agg((cast(:tables as text[]))[old.table_no], '+' order by old.table_no) as source
    from judged_rows old
    left join locations place on place.name = old.location
    where old.fate in ('moved', 'joined') and old.timestamp >= :start and old.timestamp < :until
    group by old.location, old.timestamp
),
inserted as (
    insert into raw_data (
        location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
        current_speed, free_flow_speed, congestion_ratio, is_peak_hour, source, log_partition, log_offset, created_at
    )
    select
        location, timestamp, hour_start, (timestamp at time zone :timezone)::date, latitude, longitude, aqi_value,
        coalesce(category, aqi_category(null)),
        coalesce(
            traffic_level,
            (select level from traffic_levels where congestion_ratio < below order by below limit 1)
        ),
        current_speed, free_flow_speed, congestion_ratio,
        is_peak,
        source, :log_partition, :first_offset + row_number() over (order by timestamp, location) - 1, created_at
    from observed
    left join (select aqi, aqi_category(aqi) as category from generate_series(0, :max_aqi) aqi) air on aqi = aqi_value
    join (select hour, is_peak_hour(hour) as is_peak from generate_series(0, 23) hour) clock
        on hour = extract(hour from hour_start at time zone :timezone)::integer
    order by timestamp, location
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
