-- served(day) = batch(day) + speed(day). Batch's part is the day's rows if no hour was published since they were
-- computed, and the day's hours if one was; the speed layer's comes on top of either.
with fresh as materialized (
    select computed.city_date
    from computed_days computed
    where computed.table_name = 'daily_aggregations'
      and computed.city_date >= :start
      and computed.city_date < :end
      and computed.publication >= (
        select max(published.publication) from published_hours published
        where published.city_date = computed.city_date
    )
),
stale as materialized (
    select city_date from published_hours where city_date >= :start and city_date < :end
    except
    select city_date from fresh
),
peaks as materialized (select peak_city_hours() as hours),
parts as (
    select
        of_day.location, of_day.data_points_count, of_day.aqi_sum, of_day.aqi_count, of_day.min_aqi, of_day.max_aqi,
        of_day.traffic_sum, of_day.traffic_count, of_day.min_traffic, of_day.max_traffic, of_day.speed_sum_m_h,
        of_day.speed_count, of_day.peak_aqi_sum, of_day.peak_aqi_count, of_day.peak_traffic_sum,
        of_day.peak_traffic_count, of_day.expected_count
    from fresh
    join batch_aggregations of_day on of_day.date = fresh.city_date
    where of_day.hour is null
      and (cast(:locations as text[]) is null or of_day.location = any(:locations))
    union all
    select
        hourly.location, hourly.data_points_count, hourly.aqi_sum, hourly.aqi_count, hourly.min_aqi, hourly.max_aqi,
        hourly.traffic_sum, hourly.traffic_count, hourly.min_traffic, hourly.max_traffic, hourly.speed_sum_m_h,
        hourly.speed_count,
        case when is_peak then hourly.aqi_sum else 0 end, case when is_peak then hourly.aqi_count else 0 end,
        case when is_peak then hourly.traffic_sum else 0 end, case when is_peak then hourly.traffic_count else 0 end,
        hourly.expected_count
    from (
        select
            location, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic,
            max_traffic, speed_sum_m_h, speed_count, expected_count, hour = any(peaks.hours) as is_peak
        from stale
        join batch_aggregations of_hour on of_hour.date = stale.city_date
        cross join peaks
        where of_hour.hour is not null
          and of_hour.hour_start >= :start_at
          and of_hour.hour_start < :end_at
          and (cast(:locations as text[]) is null or of_hour.location = any(:locations))
        union all
        select
            location, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic,
            max_traffic, speed_sum_m_h, speed_count, null, hour = any(peaks.hours)
        from realtime_hourly
        cross join peaks
        where hour_start >= :start_at
          and hour_start < :end_at
          and (cast(:locations as text[]) is null or location = any(:locations))
    ) hourly
),
sums as (  -- of whole numbers below 2^53: exact as double precision, and faster than bigint's numeric sums
    select
        location,
        sum(data_points_count)::bigint as data_points_count,
        sum(aqi_sum::double precision)::bigint as aqi_sum,
        sum(aqi_count)::bigint as aqi_count,
        min(min_aqi) as min_aqi,
        max(max_aqi) as max_aqi,
        sum(traffic_sum::double precision)::bigint as traffic_sum,
        sum(traffic_count)::bigint as traffic_count,
        min(min_traffic) as min_traffic,
        max(max_traffic) as max_traffic,
        sum(speed_sum_m_h::double precision)::bigint as speed_sum_m_h,
        sum(speed_count)::bigint as speed_count,
        sum(peak_aqi_sum::double precision)::bigint as peak_aqi_sum,
        sum(peak_aqi_count)::bigint as peak_aqi_count,
        sum(peak_traffic_sum::double precision)::bigint as peak_traffic_sum,
        sum(peak_traffic_count)::bigint as peak_traffic_count,
        sum(expected_count)::bigint as expected_count
    from parts
    group by location
),
both_levels as (
    select * from sums
    union all
    select
        null, sum(data_points_count)::bigint, sum(aqi_sum)::bigint, sum(aqi_count)::bigint, min(min_aqi), max(max_aqi),
        sum(traffic_sum)::bigint, sum(traffic_count)::bigint, min(min_traffic), max(max_traffic),
        sum(speed_sum_m_h)::bigint, sum(speed_count)::bigint, sum(peak_aqi_sum)::bigint, sum(peak_aqi_count)::bigint,
        sum(peak_traffic_sum)::bigint, sum(peak_traffic_count)::bigint, sum(expected_count)::bigint
    from sums
    having count(*) > 0
),
averaged as (
    select
        *,
        aqi_sum::double precision / nullif(aqi_count, 0) as avg_aqi,
        traffic_sum::double precision / nullif(traffic_count, 0) as avg_traffic,
        speed_sum_m_h::double precision / nullif(speed_count, 0) / 1000 as avg_speed,
        peak_aqi_sum::double precision / nullif(peak_aqi_count, 0) as peak_avg_aqi,
        peak_traffic_sum::double precision / nullif(peak_traffic_count, 0) as peak_avg_traffic,
        (aqi_sum - peak_aqi_sum)::double precision / nullif(aqi_count - peak_aqi_count, 0) as off_peak_avg_aqi,
        (traffic_sum - peak_traffic_sum)::double precision / nullif(traffic_count - peak_traffic_count, 0)
            as off_peak_avg_traffic
    from both_levels
)
select
    location, avg_aqi, min_aqi, max_aqi, coalesce(bands.categories[aqi_rank(avg_aqi, bands.limits)], 'Unknown'),
    avg_traffic, min_traffic, max_traffic, avg_speed, peak_avg_aqi, peak_avg_traffic, off_peak_avg_aqi,
    off_peak_avg_traffic, data_points_count, aqi_count, traffic_count, expected_count
from averaged
cross join (select aqi_limits() as limits, aqi_categories() as categories offset 0) bands
order by location nulls first
