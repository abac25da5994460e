-- Of chosen locations alone, as served_city_hourly is of all of them.
select
    hour_start, min(date), min(hour),
    sum(aqi_sum)::double precision / nullif(sum(aqi_count), 0)::double precision,
    sum(traffic_sum)::double precision / nullif(sum(traffic_count), 0)::double precision,
    sum(speed_sum_m_h)::double precision / nullif(sum(speed_count), 0)::double precision / 1000,
    sum(data_points_count)::bigint, sum(aqi_count)::bigint, sum(traffic_count)::bigint, sum(expected_count)::bigint,
    extract(isodow from min(date)) >= 6,
    bool_and(is_peak_hour),
    case when bool_and(layer = 'batch') then 'batch' when bool_and(layer = 'speed') then 'speed' else 'both' end
from served_hourly
where hour_start >= :start_at and hour_start < :end_at and location = any(:locations)
group by hour_start
order by hour_start
