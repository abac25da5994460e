-- The sums of observations by hour and location, which every engine computes: PostgreSQL as it stands, the others through
-- sqlglot. `observations` is whatever rows the caller means, with the columns of raw_data. Types are said, since engines
-- differ in what a sum or a count is. round() is PostgreSQL's: halves to even. No functions of time zones: engines differ
-- in them, so that the city's hours and days are columns.
select
    hour_start, location, min(city_date) as date, cast(count(*) as integer) as data_points_count,
    cast(coalesce(sum(aqi_value), 0) as bigint) as aqi_sum, cast(count(aqi_value) as integer) as aqi_count,
    min(aqi_value) as min_aqi, max(aqi_value) as max_aqi,
    cast(coalesce(sum(traffic_level), 0) as bigint) as traffic_sum,
    cast(count(traffic_level) as integer) as traffic_count,
    min(traffic_level) as min_traffic, max(traffic_level) as max_traffic,
    cast(coalesce(sum(cast(round(current_speed * 1000) as bigint)), 0) as bigint) as speed_sum_m_h,
    cast(count(current_speed) as integer) as speed_count,
    min(current_speed) as min_speed, max(current_speed) as max_speed,
    cast(coalesce(sum(cast(round(congestion_ratio * 1e9) as bigint)), 0) as bigint) as ratio_sum_ppb,
    cast(count(congestion_ratio) as integer) as ratio_count,
    min(congestion_ratio) as min_ratio, max(congestion_ratio) as max_ratio
from observations
group by hour_start, location
