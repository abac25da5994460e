-- Of a log's partitions how far the speed layer is, and what it holds.
select
    (select max(observed_at) from latest_observations) as newest,
    (select max(updated_at) from stream_offsets) as updated_at,
    (select coalesce(sum(data_points_count), 0)::bigint from realtime_hourly) as observations,
    (select count(*) from dead_letters where retried_at is null) as dead_letters,
    (select coalesce(json_object_agg(p.partition, o.next_offset), '{}')
     from (select distinct on (partition) id, partition from log_partitions
           where log_id = cast(:log_id as uuid) order by partition, incarnation desc) p
     join stream_offsets o on o.log_partition = p.id) as offsets
