-- Days and locations whose row does not rest on exactly the observations of their hours.
with hours as (
    select date, location, sum(data_points_count) as rows, sum(aqi_sum) as aqi, sum(traffic_sum) as traffic
    from batch_aggregations
    where hour is not null and date >= :first and date < :until
    group by date, location
),
days as (
    select date, location, data_points_count as rows, aqi_sum as aqi, traffic_sum as traffic
    from batch_aggregations
    where hour is null and date >= :first and date < :until
),
differing as (
    select date, location
    from hours
    full join days using (date, location)
    where (hours.rows, hours.aqi, hours.traffic) is distinct from (days.rows, days.aqi, days.traffic)
)
select
    (select count(*) from days) as rows,
    (select count(*) from differing) as differing,
    (select location || ' on ' || date from differing order by date, location limit 1) as first
