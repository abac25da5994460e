-- Observations against the expected polls, in closed and published hours. A location is expected from its first hour
-- in the window on, also in hours without a row of it: to the last published hour, or to its own last one where it is
-- switched off.
with hours as (
    select location, hour_start, data_points_count, expected_count
    from batch_aggregations
    where hour is not null and date >= :first and date < :until and expected_count is not null
      and hour_start + interval '1 hour' <= now()
),
places as (
    select
        hours.location,
        sum(data_points_count) as observed,
        max(expected_count) * (1 + extract(epoch from
            case when bool_and(place.is_active) then (select max(hour_start) from hours) else max(hours.hour_start) end
            - min(hours.hour_start)) / 3600) as expected
    from hours
    join locations place on place.name = hours.location
    group by hours.location
)
select
    coalesce(sum(observed), 0)::bigint as observed,
    coalesce(sum(expected), 0)::bigint as expected,
    (select string_agg(location || ' ' || share || ' %', ', ' order by share, location)
     from (select location, floor(100 * observed / expected) as share
           from places where observed < :least * expected
           order by observed / expected, location limit 5) worst) as worst
from places
