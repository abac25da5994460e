-- Hours of which not all rows were gathered that raw_hours has counted: the first of them.
select stored.hour_start, stored.rows, coalesce(found.rows, 0) as found
from (
    select hour_start, sum(rows)::bigint as rows
    from raw_hours
    where hour_start = any(:hours)
    group by hour_start
) stored
left join (
    select hour_start, count(*) as rows
    from dropped_rows
    group by hour_start
) found using (hour_start)
where stored.rows <> coalesce(found.rows, 0)
order by stored.hour_start
limit 1
