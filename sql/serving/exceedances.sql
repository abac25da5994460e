-- Of each place and watched measure its newest value, where that is at or above the threshold and not old, or where the
-- place is followed (an episode of it goes on): since when all observations are so, and which was the last one below.
-- Only these places' observations are read, each by its key, from both layers. A longer pause than the gap breaks a row.
select
    newest.location, newest.measure, newest.observed_at, newest.value, history.since, history.below_at,
    history.below_value
from latest_observations latest
join locations place on place.name = latest.location and place.is_active
cross join lateral (
    values
        ('aqi', latest.aqi_observed_at, latest.aqi_value, cast(:aqi as integer), cast(:aqi_followed as text[])),
        (
            'traffic', latest.traffic_observed_at, latest.traffic_level, cast(:traffic as integer),
            cast(:traffic_followed as text[])
        )
) measures(measure, observed_at, value, threshold, followed)
cross join lateral (
    select latest.location, measures.measure, measures.observed_at, measures.value, measures.threshold
    where measures.value is not null
      and (
          (measures.value >= measures.threshold and measures.observed_at > cast(:now as timestamptz) - cast(:gap as interval))
          or (measures.threshold is not null and latest.location = any(measures.followed))
      )
) newest
cross join lateral (
    select
        max(timestamp) filter (where begins) as since,
        max(timestamp) filter (where value < newest.threshold) as below_at,
        (array_agg(value order by timestamp desc) filter (where value < newest.threshold))[1] as below_value
    from (
        select
            timestamp, value,
            value >= newest.threshold and (
                lag(value) over in_time is null or lag(value) over in_time < newest.threshold
                or timestamp - lag(timestamp) over in_time > cast(:gap as interval)
            ) as begins
        from (
            select o.timestamp, case newest.measure when 'aqi' then o.aqi_value else o.traffic_level end as value
            from served_observations o
            where o.location = newest.location and o.timestamp <= newest.observed_at
              and o.timestamp > newest.observed_at - cast(:look_back as interval)
        ) observed
        where value is not null
        window in_time as (order by timestamp)
    ) marked
) history
order by newest.measure, newest.location
