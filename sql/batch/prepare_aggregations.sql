-- Hour by hour on the index on timestamp, so that an hour's groups fit in little memory however long the range is. All
-- rows lie below the frontiers of this snapshot. Expected is what polling every interval would have brought.
insert into prepared_aggregations (
    hour_start, location, date, hour, data_points_count,
    aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic,
    speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count, min_ratio, max_ratio,
    is_peak_hour, expected_count
)
select
    wanted.hour_start, stored.location, stored.date, wanted.hour, stored.data_points_count,
    stored.aqi_sum, stored.aqi_count, stored.min_aqi, stored.max_aqi,
    stored.traffic_sum, stored.traffic_count, stored.min_traffic, stored.max_traffic,
    stored.speed_sum_m_h, stored.speed_count, stored.min_speed, stored.max_speed,
    stored.ratio_sum_ppb, stored.ratio_count, stored.min_ratio, stored.max_ratio,
    wanted.is_peak_hour,
    case when place.aqicn_station is not null or place.latitude is not null then wanted.expected_count end
from (
    select
        hour_start, extract(hour from hour_start at time zone :timezone) as hour,
        is_peak_hour(extract(hour from hour_start at time zone :timezone)::integer) as is_peak_hour,
        (select round(3600.0 / poll_interval_seconds) from deployment) as expected_count
    from unnest(cast(:hours as timestamptz[])) as hours (hour_start)
    offset 0  -- once an hour, not once a row
) wanted
cross join lateral (
    with observations as (
        select *
        from raw_data
        where timestamp >= wanted.hour_start and timestamp < wanted.hour_start + interval '1 hour'
    )
\ir aggregate_observations.sql
) stored
left join locations place on place.name = stored.location
