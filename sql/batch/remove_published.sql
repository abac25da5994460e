-- Exactly the rows of the hour whose key was published: raw rows below the prepared frontiers.
delete from realtime_data live
using raw_data stored, prepared_frontiers prepared
where live.hour_start = :hour
  and stored.timestamp >= :hour and stored.timestamp < :end
  and stored.location = live.location
  and stored.timestamp = live.timestamp
  and prepared.log_partition = stored.log_partition
  and stored.log_offset < prepared.next_offset
