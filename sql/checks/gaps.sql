-- Closed hours of the window, from the first one that was ever published on, in which no location was observed; and
-- records that left the log before anybody read them.
with missing as (
    select expected.hour_start
    from generate_series(
        greatest(:start_at, (select min(hour_start) from published_hours)),
        least(:end_at, :closed_at) - interval '1 hour',
        interval '1 hour'
    ) as expected (hour_start)
    where exists (select from published_hours)
      and not exists (select from published_hours p where p.hour_start = expected.hour_start)
)
select
    (select count(*) from missing) as hours,
    (select min(hour_start) from missing) as first,
    (select coalesce(sum(to_offset - from_offset), 0)
     from (select distinct log_partition, from_offset, to_offset from log_gaps
           where noted_at >= :start_at and noted_at < :end_at) noted)::bigint as records_lost
