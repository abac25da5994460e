-- What psql, a BI tool, a notebook and ServingLayer all read. Replaced at every upgrade.
-- The union: an hour is what batch published plus what the speed layer holds; the positions keep them apart.

-- Read once by a statement, where a call of is_peak_hour or aqi_category for every row would be most of its time.
create or replace function peak_city_hours() returns integer[]
    language sql stable parallel safe
    return array(select city_hour from generate_series(0, 23) city_hour where is_peak_hour(city_hour));

create or replace function aqi_categories() returns text[]  -- in the order of aqi_rank
    language sql stable parallel safe
    return array(select category from aqi_bands order by upper);

create or replace view served_hourly as
select
    hour_start,
    min(date) as date,
    min(hour)::integer as hour,
    location,
    sum(aqi_sum)::double precision / nullif(sum(aqi_count), 0)::double precision as avg_aqi,
    sum(traffic_sum)::double precision / nullif(sum(traffic_count), 0)::double precision as avg_traffic,
    min(min_aqi) as min_aqi,
    max(max_aqi) as max_aqi,
    min(min_traffic)::integer as min_traffic,
    max(max_traffic)::integer as max_traffic,
    sum(speed_sum_m_h)::double precision / nullif(sum(speed_count), 0)::double precision / 1000 as avg_speed,
    sum(ratio_sum_ppb)::double precision / nullif(sum(ratio_count), 0)::double precision / 1e9 as avg_congestion_ratio,
    sum(data_points_count)::bigint as data_points_count,
    sum(aqi_sum)::bigint as aqi_sum,
    sum(aqi_count)::bigint as aqi_count,
    sum(traffic_sum)::bigint as traffic_sum,
    sum(traffic_count)::bigint as traffic_count,
    sum(speed_sum_m_h)::bigint as speed_sum_m_h,
    sum(speed_count)::bigint as speed_count,
    sum(ratio_sum_ppb)::bigint as ratio_sum_ppb,
    sum(ratio_count)::bigint as ratio_count,
    min(min_speed) as min_speed,
    max(max_speed) as max_speed,
    max(expected_count) as expected_count,
    min(hour)::integer = any((select peak_city_hours())::integer[]) as is_peak_hour,
    case when bool_and(from_batch) then 'batch' when bool_or(from_batch) then 'both' else 'speed' end as layer
from (
    select
        hour_start, date, hour, location, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum,
        traffic_count, min_traffic, max_traffic, speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb,
        ratio_count, expected_count, true as from_batch
    from batch_aggregations
    where hour is not null
    union all
    select
        hour_start, date, hour, location, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum,
        traffic_count, min_traffic, max_traffic, speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb,
        ratio_count, null, false
    from realtime_hourly
) layers
group by hour_start, location;

create or replace view served_city_hourly as
select
    hour_start,
    min(date) as date,
    min(hour)::integer as hour,
    sum(aqi_sum)::double precision / nullif(sum(aqi_count), 0)::double precision as avg_aqi,
    sum(traffic_sum)::double precision / nullif(sum(traffic_count), 0)::double precision as avg_traffic,
    min(min_aqi) as min_aqi,
    max(max_aqi) as max_aqi,
    min(min_traffic)::integer as min_traffic,
    max(max_traffic)::integer as max_traffic,
    sum(speed_sum_m_h)::double precision / nullif(sum(speed_count), 0)::double precision / 1000 as avg_speed,
    sum(data_points_count)::bigint as data_points_count,
    sum(aqi_count)::bigint as aqi_count,
    sum(traffic_count)::bigint as traffic_count,
    min(hour)::integer = any((select peak_city_hours())::integer[]) as is_peak_hour,
    case when bool_and(from_batch) then 'batch' when bool_or(from_batch) then 'both' else 'speed' end as layer,
    sum(expected_count)::bigint as expected_count
from (
    select
        hour_start, date, hour, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic,
        max_traffic, speed_sum_m_h, speed_count, data_points_count, expected_count, true as from_batch
    from city_hourly
    union all
    select
        hour_start, date, hour, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic,
        max_traffic, speed_sum_m_h, speed_count, data_points_count, null, false
    from realtime_hourly
) layers
group by hour_start;

-- The bands of each measure, 1 being the best: what aqi_rank and traffic_rank say.
create or replace view measure_bands as
select 'aqi' as measure, category as band, row_number() over (order by upper)::integer as rank
from aqi_bands
union all
select 'traffic', name, row_number() over (order by level)::integer
from traffic_levels;

-- The average hour of the day over all history, weighted by observations.
create or replace view hourly_profile as
select
    hour,
    sum(avg_aqi * aqi_count) / nullif(sum(aqi_count), 0) as avg_aqi,
    sum(avg_traffic * traffic_count) / nullif(sum(traffic_count), 0) as avg_traffic,
    sum(data_points_count)::bigint as data_points_count,
    sum(aqi_count)::bigint as aqi_count,
    sum(traffic_count)::bigint as traffic_count,
    is_peak_hour(hour) as is_peak_hour
from served_city_hourly
group by hour;

-- Which hours really are the peaks, per location and kind of day: the average day of the city days [first, until), and
-- by the rules of the domain (observed_peak_rules) whether an hour of it is a peak, beside the configured windows.
create or replace function observed_peaks(first date, until date)
returns table (
    location text, is_weekend boolean, hour integer, avg_traffic double precision, traffic_count bigint,
    avg_aqi double precision, aqi_count bigint, days bigint, is_peak_hour boolean, is_traffic_peak boolean,
    is_aqi_peak boolean
)
language sql stable parallel safe
begin atomic
    with profile as (
        select
            h.location,
            extract(isodow from h.date) >= 6 as is_weekend,
            h.hour,
            sum(h.traffic_sum)::double precision / nullif(sum(h.traffic_count), 0)::double precision as avg_traffic,
            sum(h.traffic_count)::bigint as traffic_count,
            count(distinct h.date) filter (where h.traffic_count > 0) as traffic_days,
            sum(h.aqi_sum)::double precision / nullif(sum(h.aqi_count), 0)::double precision as avg_aqi,
            sum(h.aqi_count)::bigint as aqi_count,
            count(distinct h.date) filter (where h.aqi_count > 0) as aqi_days,
            count(distinct h.date) as days
        from served_hourly h
        where h.date >= observed_peaks.first and h.date < observed_peaks.until
          -- a coarse range by instant, whatever the zones, so that not all history is aggregated first
          and h.hour_start >= (observed_peaks.first - 2)::timestamptz
          and h.hour_start < (observed_peaks.until + 2)::timestamptz
        group by h.location, extract(isodow from h.date) >= 6, h.hour
    ),
    ranged as (  -- by windows, not by a join: without statistics that would be planned as a search for every row
        select
            p.*,
            road.share as traffic_share, road.least_days as traffic_least, road.least_range as traffic_range,
            air.share as aqi_share, air.least_days as aqi_least, air.least_range as aqi_range,
            min(p.avg_traffic) filter (where p.traffic_days >= road.least_days) over kind as calm_traffic,
            max(p.avg_traffic) filter (where p.traffic_days >= road.least_days) over kind as worst_traffic,
            min(p.avg_aqi) filter (where p.aqi_days >= air.least_days) over kind as calm_aqi,
            max(p.avg_aqi) filter (where p.aqi_days >= air.least_days) over kind as worst_aqi
        from profile p
        join observed_peak_rules road on road.measure = 'traffic'
        join observed_peak_rules air on air.measure = 'aqi'
        window kind as (partition by p.location, p.is_weekend)
    )
    select
        r.location, r.is_weekend, r.hour, r.avg_traffic, r.traffic_count, r.avg_aqi, r.aqi_count, r.days,
        is_peak_hour(r.hour),
        coalesce(r.traffic_days >= traffic_least and worst_traffic - calm_traffic >= traffic_range
            and r.avg_traffic >= calm_traffic + traffic_share * (worst_traffic - calm_traffic), false),
        coalesce(r.aqi_days >= aqi_least and worst_aqi - calm_aqi >= aqi_range
            and r.avg_aqi >= calm_aqi + aqi_share * (worst_aqi - calm_aqi), false)
    from ranged r;
end;

-- Of the last four weeks that anything is served of.
create or replace view observed_peak_hours as
select peaks.*
from (select max(date) as newest from (
    select max(date) as date from city_hourly union all select max(date) from realtime_hourly) days) newest
cross join lateral observed_peaks(newest.newest - 27, newest.newest + 1) peaks;

-- A day from its daily rows where they are up to date, from its hours where not.
create or replace view served_daily as
with fresh_days as (
    select c.city_date
    from computed_days c
    where c.table_name = 'daily_aggregations'
      and c.publication >= (select max(h.publication) from published_hours h where h.city_date = c.city_date)
      and not exists (select from realtime_hourly r where r.date = c.city_date)
),
days as (
    select
        date, location, data_points_count::bigint, aqi_sum, aqi_count::bigint, min_aqi, max_aqi, traffic_sum,
        traffic_count::bigint, min_traffic::integer, max_traffic::integer, expected_count::bigint,
        peak_aqi_sum, peak_aqi_count::bigint, peak_traffic_sum, peak_traffic_count::bigint
    from batch_aggregations
    where hour is null and date in (select city_date from fresh_days)
    union all
    select
        date, location, sum(data_points_count)::bigint, sum(aqi_sum)::bigint, sum(aqi_count)::bigint, min(min_aqi),
        max(max_aqi), sum(traffic_sum)::bigint, sum(traffic_count)::bigint, min(min_traffic), max(max_traffic),
        sum(expected_count)::bigint,
        coalesce(sum(aqi_sum) filter (where is_peak_hour), 0)::bigint,
        coalesce(sum(aqi_count) filter (where is_peak_hour), 0)::bigint,
        coalesce(sum(traffic_sum) filter (where is_peak_hour), 0)::bigint,
        coalesce(sum(traffic_count) filter (where is_peak_hour), 0)::bigint
    from served_hourly
    where date not in (select city_date from fresh_days)
    group by date, location
)
select
    date,
    location,
    aqi_sum::double precision / nullif(aqi_count, 0)::double precision as avg_aqi,
    traffic_sum::double precision / nullif(traffic_count, 0)::double precision as avg_traffic,
    min_aqi, max_aqi, min_traffic, max_traffic, data_points_count, aqi_count, traffic_count, expected_count,
    null::boolean as is_peak_hour,
    peak_aqi_sum::double precision / nullif(peak_aqi_count, 0) as peak_avg_aqi,
    peak_traffic_sum::double precision / nullif(peak_traffic_count, 0) as peak_avg_traffic,
    (aqi_sum - peak_aqi_sum)::double precision / nullif(aqi_count - peak_aqi_count, 0) as off_peak_avg_aqi,
    (traffic_sum - peak_traffic_sum)::double precision / nullif(traffic_count - peak_traffic_count, 0)
        as off_peak_avg_traffic
from days;

-- Every observation that is served: all of realtime_data, and of raw_data what is published.
create or replace view served_observations as
select
    r.timestamp, r.location, r.hour_start, r.city_date, r.latitude, r.longitude, r.aqi_value, r.aqi_category,
    r.traffic_level, r.current_speed, r.free_flow_speed, r.congestion_ratio, r.road_closure, r.pollutants, r.source,
    r.log_partition, r.log_offset, r.created_at, 'speed' as layer
from realtime_data r
union all
select
    b.timestamp, b.location, b.hour_start, b.city_date, b.latitude, b.longitude, b.aqi_value, b.aqi_category,
    b.traffic_level, b.current_speed, b.free_flow_speed, b.congestion_ratio, b.road_closure, b.pollutants, b.source,
    b.log_partition, b.log_offset, b.created_at, 'batch'
from raw_data b
join batch_coverage c
  on c.hour_start = b.hour_start and c.log_partition = b.log_partition and b.log_offset < c.next_offset;

create or replace view current_conditions as
select
    place.name as location,
    coalesce(place.latitude, latest.latitude) as latitude,
    coalesce(place.longitude, latest.longitude) as longitude,
    latest.observed_at,
    latest.aqi_value,
    coalesce(bands.categories[aqi_rank(latest.aqi_value, bands.limits)], 'Unknown') as aqi_category,
    latest.aqi_observed_at,
    latest.aqi_measured_at,
    latest.dominant_pollutant,
    latest.pollutants,
    latest.attributions,
    latest.traffic_level,
    latest.traffic_observed_at,
    latest.current_speed,
    latest.free_flow_speed,
    round(((latest.free_flow_speed - latest.current_speed) / nullif(latest.free_flow_speed, 0))::numeric, 9)
        ::double precision as congestion_ratio,
    latest.road_closure,
    case when latest.observed_at is not null then coalesce(live.layer, 'batch') end as layer
from locations place
cross join (select aqi_limits() as limits, aqi_categories() as categories offset 0) bands
left join latest_observations latest on latest.location = place.name
left join lateral (  -- a search by key for each location, never a scan of all that the speed layer holds
    select 'speed' as layer
    from realtime_data live
    where live.location = place.name and live.timestamp = latest.observed_at
    offset 0
) live on true
where place.is_active or latest.location is not null;

-- ---------------------------------------------------------------- the first system's tables that live on as views
-- Their ids are the observations' positions in the log: they stay the same when the batch layer takes a row over.

create or replace view daily_summary as
select
    day.date,
    day.avg_aqi_jakarta,
    day.max_traffic_level,
    worst.peak_traffic_hour,
    worst.peak_aqi_hour,
    worst.created_at
from (
    select
        date,
        sum(avg_aqi * aqi_count) / nullif(sum(aqi_count), 0) as avg_aqi_jakarta,
        max(max_traffic) as max_traffic_level
    from served_daily
    group by date
) day
left join peak_hours worst on worst.analysis_date = day.date;

create or replace view traffic_data as
select
    (log_partition::bigint << 48) | log_offset as id, timestamp, location, latitude, longitude, traffic_level,
    current_speed, free_flow_speed,
    is_peak_hour(extract(hour from hour_start at time zone (select timezone from deployment))::integer) as is_peak_hour,
    created_at
from served_observations
where traffic_level is not null or current_speed is not null;

create or replace view aqi_data as
select
    (log_partition::bigint << 48) | log_offset as id, timestamp, location, latitude, longitude, aqi_value,
    aqi_category, created_at
from served_observations
where aqi_value is not null;

grant select on
    served_hourly, served_city_hourly, hourly_profile, served_daily, served_observations, current_conditions,
    observed_peak_hours, daily_summary, traffic_data, aqi_data, measure_bands
    to lambda_reader, lambda_writer;
