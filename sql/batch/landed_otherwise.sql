-- An hour of which an engine counted other rows than were stored, if any. There must be none.
select hour_start, stored.rows, coalesce(landed.rows, 0) as landed
from (
    select hour_start, sum(rows)::bigint as rows
    from raw_hours
    where hour_start = any(:hours)
    group by hour_start
) stored
full join (
    select hour_start, sum(data_points_count)::bigint as rows
    from landed_aggregations
    group by hour_start
) landed using (hour_start)
where stored.rows is distinct from landed.rows
order by hour_start
limit 1
