-- Sums over the rows of a city day below the offsets that its archive covers.
select
    count(*) as rows,
    count(aqi_value) as aqi_count,
    coalesce(sum(aqi_value), 0)::bigint as aqi_sum,
    count(traffic_level) as traffic_count,
    coalesce(sum(traffic_level), 0)::bigint as traffic_sum,
    coalesce(sum(round(current_speed * 1000)::bigint), 0)::bigint as speed_sum_m_h,
    coalesce(sum(round(congestion_ratio * 1e9)::bigint), 0)::bigint as ratio_sum_ppb,
    coalesce(sum(log_offset), 0)::bigint as offset_sum
from raw_data stored
join jsonb_each_text(cast(:covered as jsonb)) as covered (log_partition, next_offset)
    on covered.log_partition::smallint = stored.log_partition
where stored.timestamp >= :start_at and stored.timestamp < :end_at and stored.city_date = :day
  and stored.log_offset < covered.next_offset::bigint
