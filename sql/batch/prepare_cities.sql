-- Also how many locations have their average in each band: aqi_locations[1] and traffic_locations[1] are the best ones.
insert into prepared_cities (
    hour_start, date, hour, locations, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum,
    traffic_count, min_traffic, max_traffic, speed_sum_m_h, speed_count, ratio_sum_ppb, ratio_count, expected_count,
    aqi_locations, traffic_locations
)
with bands as materialized (select aqi_limits() as limits)
select
    hour_start, min(date), min(hour), count(*), sum(data_points_count), sum(aqi_sum), sum(aqi_count), min(min_aqi),
    max(max_aqi), sum(traffic_sum), sum(traffic_count), min(min_traffic), max(max_traffic), sum(speed_sum_m_h),
    sum(speed_count), sum(ratio_sum_ppb), sum(ratio_count), sum(expected_count),
    array[
        count(*) filter (where aqi_rank = 1), count(*) filter (where aqi_rank = 2),
        count(*) filter (where aqi_rank = 3), count(*) filter (where aqi_rank = 4),
        count(*) filter (where aqi_rank = 5), count(*) filter (where aqi_rank = 6)
    ],
    array[
        count(*) filter (where traffic_rank = 1), count(*) filter (where traffic_rank = 2),
        count(*) filter (where traffic_rank = 3), count(*) filter (where traffic_rank = 4),
        count(*) filter (where traffic_rank = 5)
    ]
from prepared_aggregations
cross join bands
cross join lateral (
    select
        aqi_rank(aqi_sum::double precision / nullif(aqi_count, 0), limits) as aqi_rank,
        traffic_rank(traffic_sum::double precision / nullif(traffic_count, 0)) as traffic_rank
    offset 0  -- once a row, not once a band
) rank
group by hour_start
