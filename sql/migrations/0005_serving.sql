-- Serving a city of many locations: how its location-hours are spread over the bands, without reading them one by one.

set local role lambda_owner;

-- Which band an average falls into, 1 being the best, by the rules of the domain; null where there is no average. Plain
-- expressions, so that a statement over many rows is not slowed down by a call for each: what aqi_rank needs of
-- aqi_bands is read once, by aqi_limits. Bands include their upper end and width_bucket's do not, hence the signs.
create function aqi_limits() returns double precision[]
    language sql stable parallel safe
    return (select array_agg(-upper order by -upper) from aqi_bands);

create function aqi_rank(aqi double precision, limits double precision[]) returns integer
    language sql immutable parallel safe
    return case when aqi <> 'NaN' then cardinality(limits) + 1 - width_bucket(-aqi, limits) end;

create function traffic_rank(level double precision) returns integer
    language sql immutable parallel safe
    return case when level <> 'NaN' then greatest(1, least(5, trunc(level + 0.5)))::integer end;

-- Of each hour how many locations have their average in each band, in the bands' order: [1] is the best one.
alter table city_hourly
    add column aqi_locations integer[] not null default '{}',
    add column traffic_locations integer[] not null default '{}';

with bands as materialized (select aqi_limits() as limits),
ranked as (
    select hour_start, aqi_rank(avg_aqi, limits) as aqi_rank, traffic_rank(avg_traffic) as traffic_rank
    from batch_aggregations
    cross join bands
    where hour is not null
),
counted as (
    select
        hour_start,
        array[
            count(*) filter (where aqi_rank = 1), count(*) filter (where aqi_rank = 2),
            count(*) filter (where aqi_rank = 3), count(*) filter (where aqi_rank = 4),
            count(*) filter (where aqi_rank = 5), count(*) filter (where aqi_rank = 6)
        ] as aqi_locations,
        array[
            count(*) filter (where traffic_rank = 1), count(*) filter (where traffic_rank = 2),
            count(*) filter (where traffic_rank = 3), count(*) filter (where traffic_rank = 4),
            count(*) filter (where traffic_rank = 5)
        ] as traffic_locations
    from ranked
    group by hour_start
)
update city_hourly city
set aqi_locations = counted.aqi_locations, traffic_locations = counted.traffic_locations
from counted
where counted.hour_start = city.hour_start;

-- Only for the rows that were there: a publish that does not count must fail.
alter table city_hourly
    alter column aqi_locations drop default,
    alter column traffic_locations drop default;

create index dead_letters_newest on dead_letters (appended_at, id);

reset role;
