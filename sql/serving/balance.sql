-- Per hour how many observations each layer serves, and how many are served in all.
select
    hour_start,
    coalesce(speed.observations, 0)::bigint as speed,
    coalesce(batch.observations, 0)::bigint as batch,
    coalesce(served.observations, 0)::bigint as served
from (select hour_start, sum(data_points_count) as observations from served_hourly group by hour_start) served
full join (select hour_start, count(*) as observations from realtime_data group by hour_start) speed using (hour_start)
full join (
    select hour_start, sum(data_points_count) as observations
    from batch_aggregations
    where hour is not null
    group by hour_start
) batch using (hour_start)
order by hour_start
