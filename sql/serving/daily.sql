select
    date, location, avg_aqi, avg_traffic, min_aqi, max_aqi, min_traffic, max_traffic, data_points_count, aqi_count,
    traffic_count, expected_count, is_peak_hour, peak_avg_aqi, peak_avg_traffic, off_peak_avg_aqi,
    off_peak_avg_traffic, aqi_category(avg_aqi)
from served_daily
where date >= :start and date < :end
  and (cast(:locations as text[]) is null or location = any(:locations))
order by date, location
