-- The rows of the hour that the prepare found in both layers, at the same positions and with the same values.
delete from realtime_data live
using prepared_moves found
where found.hour_start = :hour and found.is_equal
  and live.ctid = found.place
  and live.log_partition = found.log_partition
  and live.log_offset = found.log_offset
