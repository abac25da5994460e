-- Hours whose result does not rest on exactly the raw rows below its coverage.
with counted as (
    select r.hour_start, count(*) as rows
    from raw_data r
    join batch_coverage c on c.hour_start = r.hour_start and c.log_partition = r.log_partition
    where r.timestamp >= :start_at and r.timestamp < :end_at and r.log_offset < c.next_offset
    group by r.hour_start
),
published as (
    select hour_start, sum(data_points_count) as rows
    from batch_aggregations
    where hour is not null and date >= :first and date < :until and hour_start >= :start_at and hour_start < :end_at
    group by hour_start
),
differing as (
    select hour_start, coalesce(counted.rows, 0) as raw, coalesce(published.rows, 0) as hourly
    from counted
    full join published using (hour_start)
    where counted.rows is distinct from published.rows
)
select
    (select count(*) from published) as hours,
    (select coalesce(sum(rows), 0) from counted)::bigint as raw_rows,
    (select count(*) from differing) as differing,
    (select hour_start || ': ' || raw || ' raw rows, ' || hourly || ' published'
     from differing order by hour_start limit 1) as first
