-- Only what the prepared result says otherwise: when an hour is published again, most of its places are as they were.
delete from batch_aggregations stored
where stored.hour_start = :hour and stored.hour is not null
  and not exists (
    select
    from prepared_aggregations p
    where p.hour_start = stored.hour_start
      and p.location = stored.location
      and (
        p.date, p.hour, p.data_points_count, p.aqi_sum, p.aqi_count, p.min_aqi, p.max_aqi, p.traffic_sum,
        p.traffic_count, p.min_traffic, p.max_traffic, p.speed_sum_m_h, p.speed_count, p.min_speed, p.max_speed,
        p.ratio_sum_ppb, p.ratio_count, p.min_ratio, p.max_ratio, p.is_peak_hour, p.expected_count
      ) is not distinct from (
        stored.date, stored.hour, stored.data_points_count, stored.aqi_sum, stored.aqi_count, stored.min_aqi,
        stored.max_aqi, stored.traffic_sum, stored.traffic_count, stored.min_traffic, stored.max_traffic,
        stored.speed_sum_m_h, stored.speed_count, stored.min_speed, stored.max_speed, stored.ratio_sum_ppb,
        stored.ratio_count, stored.min_ratio, stored.max_ratio, stored.is_peak_hour, stored.expected_count
      )
  )
