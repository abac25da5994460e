-- What an engine aggregated, with what PostgreSQL knows of an hour and a location, as prepare_aggregations.sql has it. In
-- the order in which it landed: to sort it anew would take longer than all the rest.
insert into prepared_aggregations (
    hour_start, location, date, hour, data_points_count,
    aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic,
    speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count, min_ratio, max_ratio,
    is_peak_hour, expected_count
)
select
    wanted.hour_start, place.location, landed.date, wanted.hour, landed.data_points_count,
    landed.aqi_sum, landed.aqi_count,
    case when landed.aqi_count > 0 then landed.min_aqi end, case when landed.aqi_count > 0 then landed.max_aqi end,
    landed.traffic_sum, landed.traffic_count,
    case when landed.traffic_count > 0 then landed.min_traffic end,
    case when landed.traffic_count > 0 then landed.max_traffic end,
    landed.speed_sum_m_h, landed.speed_count,
    case when landed.speed_count > 0 then landed.min_speed end,
    case when landed.speed_count > 0 then landed.max_speed end,
    landed.ratio_sum_ppb, landed.ratio_count,
    case when landed.ratio_count > 0 then landed.min_ratio end,
    case when landed.ratio_count > 0 then landed.max_ratio end,
    wanted.is_peak_hour,
    case when place.is_polled then wanted.expected_count end
from landed_aggregations landed
join (
    select
        hour_start, extract(hour from hour_start at time zone :timezone) as hour,
        is_peak_hour(extract(hour from hour_start at time zone :timezone)::integer) as is_peak_hour,
        (select round(3600.0 / poll_interval_seconds) from deployment) as expected_count
    from unnest(cast(:hours as timestamptz[])) as hours (hour_start)
    offset 0  -- once an hour, not once a row
) wanted using (hour_start)
join (
    select
        named.place, named.location,
        coalesce(known.aqicn_station is not null or known.latitude is not null, false) as is_polled
    from landed_places named
    left join locations known on known.name = named.location
    offset 0
) place using (place)
