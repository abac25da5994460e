-- How far both layers have read each partition of every log, of each its newest incarnation; null where never.
select distinct on (place.log_id, place.partition)
    place.log_id, place.partition, consumed.next_offset as consumed, stored.next_offset as stored
from log_partitions place
left join stream_offsets consumed on consumed.log_partition = place.id
left join raw_frontier stored on stored.log_partition = place.id
order by place.log_id, place.partition, place.incarnation desc
