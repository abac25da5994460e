-- Hours and locations whose row of peak_hours_analysis is not that of batch_aggregations.
with differing as (
    select hour_start, location
    from (select hour_start, location, data_points_count, avg_traffic, avg_aqi from batch_aggregations
          where hour is not null and date >= :first and date < :until) hourly
    full join (select hour_start, location, total_records, avg_traffic_level, avg_aqi_value from peak_hours_analysis
               where date >= :first and date < :until) analysed using (hour_start, location)
    where (data_points_count, avg_traffic, avg_aqi) is distinct from (total_records, avg_traffic_level, avg_aqi_value)
)
select
    (select count(*) from peak_hours_analysis where date >= :first and date < :until) as rows,
    (select count(*) from differing) as differing,
    (select location || ' at ' || hour_start from differing order by hour_start, location limit 1) as first
