-- Observations against the expected polls of closed hours. A location that is polled is expected in each of them, also
-- without a row, from its first hour ever on; one of the catalogue that never had an hour, from when it was brought in.
-- Any other, switched off or imported, is expected from its first to its last hour in the window.
with bounds as (
    select
        first,
        first + floor(extract(epoch from least(:end_at, :closed_at) - first) / 3600) * interval '1 hour' as until,
        (select min(hour_start) from published_hours) as history
    from (select cast(:start_at as timestamptz)) start (first)
),
hours as (
    select
        location, min(hour_start) as first, max(hour_start) + interval '1 hour' as until,
        sum(data_points_count) as observed, max(expected_count) as polls
    from batch_aggregations, bounds
    where hour is not null and date >= :first and date < :until and expected_count is not null
      and hour_start < bounds.until
    group by location
),
polled as (
    select
        place.name as location,
        coalesce(
            (select min(hour_start) from batch_aggregations where hour is not null and location = place.name),
            greatest(place.created_at, bounds.history)
        ) as first,
        (select round(3600.0 / poll_interval_seconds) from deployment) as polls
    from locations place, bounds
    where place.is_active and place.origin = 'catalogue' and bounds.history is not null
      and (place.aqicn_station is not null or place.latitude is not null)
),
places as (
    select
        location,
        coalesce(hours.observed, 0) as observed,
        coalesce(hours.polls, polled.polls) * floor(extract(epoch from
            case when polled.first is null then hours.until - hours.first
            else bounds.until - greatest(bounds.first, polled.first) end) / 3600) as expected
    from hours
    full join polled using (location)
    cross join bounds
)
select
    coalesce(sum(observed), 0)::bigint as observed,
    coalesce(sum(expected), 0)::bigint as expected,
    (select string_agg(location || ' ' || share || ' %', ', ' order by share, location)
     from (select location, floor(100 * observed / expected) as share
           from places where expected > 0 and observed < :least * expected
           order by observed / expected, location limit 5) worst) as worst
from places
where expected > 0
