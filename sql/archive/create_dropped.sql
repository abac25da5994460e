-- What the archive has of some hours or days, for one transaction; with what raw_data still has of them, if it is added.
create temporary table if not exists dropped_rows on commit delete rows as
select
    location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
    current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants, source, log_partition,
    log_offset, created_at
from raw_data
with no data;
create unique index if not exists dropped_rows_key on dropped_rows (location, timestamp);
create index if not exists dropped_rows_timestamp on dropped_rows (timestamp)
