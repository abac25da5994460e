-- The hour's result as prepared, in the order of the indexes; what is as it was stayed.
insert into batch_aggregations (
    hour_start, location, date, hour, data_points_count,
    aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic,
    speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count, min_ratio, max_ratio,
    is_peak_hour, expected_count
)
select
    hour_start, location, date, hour, data_points_count,
    aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic,
    speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count, min_ratio, max_ratio,
    is_peak_hour, expected_count
from prepared_aggregations p
where p.hour_start = :hour
  and not exists (
    select
    from batch_aggregations stored
    where stored.hour_start = :hour and stored.hour is not null and stored.location = p.location
  )
order by p.location
