-- Results that are impossible: extremes outside their ranges, sums outside what their extremes allow.
with broken as (
    select hour_start, location
    from batch_aggregations
    where hour is not null and date >= :first and date < :until
      and (aqi_count > data_points_count or traffic_count > data_points_count
        or min_aqi < 0 or max_aqi > 1000 or min_traffic < 1 or max_traffic > 5 or min_speed < 0 or max_speed > 300
        or aqi_sum not between min_aqi::bigint * aqi_count and max_aqi::bigint * aqi_count
        or traffic_sum not between min_traffic::bigint * traffic_count and max_traffic::bigint * traffic_count
        or (aqi_count = 0) <> (max_aqi is null) or (traffic_count = 0) <> (max_traffic is null)
        or data_points_count < 1)
)
select
    (select count(*) from broken) as broken,
    (select location || ' at ' || hour_start from broken order by hour_start, location limit 1) as first
