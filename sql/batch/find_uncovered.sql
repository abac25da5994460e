-- A row that the coverage claims and the result does not hold would be lost: there must be none.
select p.topic, p.partition, live.log_offset, live.location, live.timestamp
from realtime_data live
join prepared_frontiers prepared using (log_partition)
join log_partitions p on p.id = live.log_partition
where live.hour_start = :hour and live.log_offset < prepared.next_offset
order by live.log_partition, live.log_offset
limit 1
