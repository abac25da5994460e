select layer, newest, extract(epoch from now() - newest)::double precision, updated_at, observations, hours, letters
from (
    select
        1 as rank, 'speed' as layer,
        case when exists (select from stream_offsets) then (select max(observed_at) from latest_observations) end
            as newest,
        (select max(updated_at) from stream_offsets) as updated_at,
        (select coalesce(sum(data_points_count), 0)::bigint from realtime_hourly) as observations,
        (select count(distinct hour_start) from realtime_hourly) as hours
    union all
    select
        2, 'batch',
        (
            select max(r.timestamp)
            from raw_data r
            join batch_coverage c using (hour_start, log_partition)
            where r.log_offset < c.next_offset
              and r.timestamp >= (select max(hour_start) from published_hours)
        ),
        (select max(published_at) from published_hours),
        (select coalesce(sum(data_points_count), 0)::bigint from city_hourly),
        (select count(*) from city_hourly)
) layers
cross join (select count(*) as letters from dead_letters where retried_at is null) counted
order by rank
