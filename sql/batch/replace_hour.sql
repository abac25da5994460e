-- The hour's result as prepared. Expected is what polling every interval would have brought.
insert into batch_aggregations (
    hour_start, location, date, hour, data_points_count,
    aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic,
    speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count, min_ratio, max_ratio,
    is_peak_hour, expected_count
)
select
    p.hour_start, p.location, p.date, p.hour, p.data_points_count,
    p.aqi_sum, p.aqi_count, p.min_aqi, p.max_aqi, p.traffic_sum, p.traffic_count, p.min_traffic, p.max_traffic,
    p.speed_sum_m_h, p.speed_count, p.min_speed, p.max_speed, p.ratio_sum_ppb, p.ratio_count, p.min_ratio, p.max_ratio,
    is_peak_hour(p.hour),
    case
        when place.aqicn_station is not null or place.latitude is not null
        then round(3600.0 / (select poll_interval_seconds from deployment))
    end
from prepared_aggregations p
left join locations place on place.name = p.location
where p.hour_start = :hour
