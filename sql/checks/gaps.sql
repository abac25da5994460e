-- Hours between the first and the last published hour of the window in which no location was observed, and records
-- that left the log before anybody read them.
with bounds as (
    select min(hour_start) as first, max(hour_start) as last
    from published_hours
    where city_date >= :first and city_date < :until
),
missing as (
    select expected.hour_start
    from bounds, generate_series(bounds.first, bounds.last, interval '1 hour') as expected (hour_start)
    where not exists (select from published_hours p where p.hour_start = expected.hour_start)
)
select
    (select count(*) from missing) as hours,
    (select min(hour_start) from missing) as first,
    (select coalesce(sum(to_offset - from_offset), 0)
     from (select distinct log_partition, from_offset, to_offset from log_gaps
           where noted_at >= :start_at and noted_at < :end_at) noted)::bigint as records_lost
