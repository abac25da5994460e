-- A city day in the order of its file. By bytes, as Parquet compares texts, whatever the database's own order is.
select
    location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
    current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants, source, log_partition,
    log_offset, created_at
from raw_data
where timestamp >= :start_at and timestamp < :end_at and city_date = :day
order by location collate "C", timestamp
