select
    location, is_weekend, hour, avg_traffic, traffic_count, avg_aqi, aqi_count, days, is_peak_hour, is_traffic_peak,
    is_aqi_peak
from observed_peaks(:start, :end)
where cast(:locations as text[]) is null or location = any(:locations)
order by location, is_weekend, hour
