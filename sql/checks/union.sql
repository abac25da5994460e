-- The promise, in one snapshot: nothing of the speed layer is covered by a result, no key is in both layers, and
-- realtime_hourly is what realtime_data holds.
select
    (select count(*)
     from realtime_data live
     join batch_coverage c on c.hour_start = live.hour_start and c.log_partition = live.log_partition
     where live.log_offset < c.next_offset) as covered,
    (select count(*)
     from realtime_data live
     join raw_data stored on stored.location = live.location and stored.timestamp = live.timestamp
     join batch_coverage c on c.hour_start = stored.hour_start and c.log_partition = stored.log_partition
     where stored.log_offset < c.next_offset) as in_both,
    (select count(*)
     from (select hour_start, location, count(*) as rows, sum(aqi_value) as aqi, sum(traffic_level) as traffic
           from realtime_data group by hour_start, location) live
     full join realtime_hourly hourly using (hour_start, location)
     where live.rows is distinct from hourly.data_points_count
        or coalesce(live.aqi, 0) is distinct from hourly.aqi_sum
        or coalesce(live.traffic, 0) is distinct from hourly.traffic_sum) as drifted,
    (select count(*) from realtime_data) as rows
