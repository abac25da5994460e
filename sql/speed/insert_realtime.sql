-- Inserts in key order what neither realtime_data nor the published part of raw_data holds, adds exactly that to
-- realtime_hourly, and returns how many observations that were.
with covered as materialized (
    select hour_start, log_partition, next_offset
    from batch_coverage
    where hour_start in (select distinct hour_start from incoming)
),
-- What the batch layer serves already. Few hours are both published and still observed, so raw_data is asked for those
-- alone, key by key: by a join the planner might read all of it.
published as materialized (
    select i.location, i.timestamp
    from incoming i
    cross join lateral (
        select stored.log_partition, stored.log_offset
        from raw_data stored
        where stored.location = i.location and stored.timestamp = i.timestamp
        limit 1
    ) stored
    join covered
      on covered.hour_start = i.hour_start
     and covered.log_partition = stored.log_partition
     and stored.log_offset < covered.next_offset
    where i.hour_start in (select hour_start from covered)
),
inserted as (
    insert into realtime_data (
        location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
        current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants, source,
        log_partition, log_offset
    )
    select
        location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
        current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants::jsonb, source,
        log_partition, log_offset
    from incoming i
    where not exists (select from published p where p.location = i.location and p.timestamp = i.timestamp)
    order by location, timestamp, log_partition, log_offset
    on conflict (location, timestamp) do nothing
    returning
        hour_start, location, city_date, aqi_value, traffic_level, current_speed, congestion_ratio
),
added as (
    insert into realtime_hourly as hourly (
        hour_start, location, date, hour, data_points_count,
        aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic,
        speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count, min_ratio, max_ratio
    )
    select
        hour_start, location, min(city_date), extract(hour from hour_start at time zone :timezone), count(*),
        coalesce(sum(aqi_value), 0), count(aqi_value), min(aqi_value), max(aqi_value),
        coalesce(sum(traffic_level), 0), count(traffic_level), min(traffic_level), max(traffic_level),
        coalesce(sum(round(current_speed * 1000)::bigint), 0), count(current_speed), min(current_speed),
        max(current_speed),
        coalesce(sum(round(congestion_ratio * 1e9)::bigint), 0), count(congestion_ratio), min(congestion_ratio),
        max(congestion_ratio)
    from inserted
    group by hour_start, location
    order by hour_start, location
    on conflict (hour_start, location) do update set
        data_points_count = hourly.data_points_count + excluded.data_points_count,
        aqi_sum = hourly.aqi_sum + excluded.aqi_sum,
        aqi_count = hourly.aqi_count + excluded.aqi_count,
        min_aqi = least(hourly.min_aqi, excluded.min_aqi),
        max_aqi = greatest(hourly.max_aqi, excluded.max_aqi),
        traffic_sum = hourly.traffic_sum + excluded.traffic_sum,
        traffic_count = hourly.traffic_count + excluded.traffic_count,
        min_traffic = least(hourly.min_traffic, excluded.min_traffic),
        max_traffic = greatest(hourly.max_traffic, excluded.max_traffic),
        speed_sum_m_h = hourly.speed_sum_m_h + excluded.speed_sum_m_h,
        speed_count = hourly.speed_count + excluded.speed_count,
        min_speed = least(hourly.min_speed, excluded.min_speed),
        max_speed = greatest(hourly.max_speed, excluded.max_speed),
        ratio_sum_ppb = hourly.ratio_sum_ppb + excluded.ratio_sum_ppb,
        ratio_count = hourly.ratio_count + excluded.ratio_count,
        min_ratio = least(hourly.min_ratio, excluded.min_ratio),
        max_ratio = greatest(hourly.max_ratio, excluded.max_ratio)
    returning 1
)
select count(*) from inserted
