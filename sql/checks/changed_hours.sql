-- Hours of the days that a run has published, or could publish: a stored position is not below their coverage. With the
-- rows that raw_hours counts in them, and those that raw_data holds of their time: a row that lies in another hour than
-- the one that it is counted in makes the two differ.
with changed as (
    select stored.hour_start, sum(stored.rows)::bigint as counted
    from raw_hours stored
    left join batch_coverage covered using (hour_start, log_partition)
    where stored.city_date >= :first and stored.city_date < :until
    group by stored.hour_start
    having bool_or(stored.max_offset >= coalesce(covered.next_offset, 0))
        or exists (select from published_hours p where p.hour_start = stored.hour_start and p.run_id = :run_id)
)
select
    hour_start, counted,
    (select count(*) from raw_data r
     where r.timestamp >= changed.hour_start and r.timestamp < changed.hour_start + interval '1 hour') as found
from changed
order by hour_start
