-- Days whose worst hours are not the highest averages of the day.
with days as (
    select date, max(avg_aqi) as aqi, max(avg_traffic) as traffic
    from batch_aggregations
    where hour is not null and date >= :first and date < :until
    group by date
),
differing as (
    select date
    from days
    full join (select * from peak_hours where analysis_date >= :first and analysis_date < :until) worst
        on worst.analysis_date = days.date
    where worst.peak_aqi_value is distinct from days.aqi or worst.peak_traffic_value is distinct from days.traffic
)
select
    (select count(*) from days) as rows,
    (select count(*) from differing) as differing,
    (select min(date)::text from differing) as first
