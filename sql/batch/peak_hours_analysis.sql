-- Only rows that are not there as they should be: a day is computed every hour, and its earlier hours rarely change.
with peaks as materialized (
    select number::smallint as hour, is_peak_hour(number) as is_peak_hour from generate_series(0, 23) number
)
insert into peak_hours_analysis (
    date, hour, hour_start, location, avg_traffic_level, avg_aqi_value, is_peak_hour, total_records
)
select h.date, h.hour, h.hour_start, h.location, h.avg_traffic, h.avg_aqi, peaks.is_peak_hour, h.data_points_count
from batch_aggregations h
join peaks on peaks.hour = h.hour
where h.hour is not null and h.date >= :first and h.date < :until
  and not exists (
    select
    from peak_hours_analysis stored
    where stored.date >= :first and stored.date < :until
      and stored.hour_start = h.hour_start and stored.location = h.location
      and (stored.avg_traffic_level, stored.avg_aqi_value, stored.is_peak_hour, stored.total_records)
        is not distinct from (h.avg_traffic, h.avg_aqi, peaks.is_peak_hour, h.data_points_count)
  )
on conflict (hour_start, location) do update set
    avg_traffic_level = excluded.avg_traffic_level,
    avg_aqi_value = excluded.avg_aqi_value,
    is_peak_hour = excluded.is_peak_hour,
    total_records = excluded.total_records,
    updated_at = now()
