-- The rows of the hour that the prepare found in both layers otherwise, and how.
with moved as (
    delete from realtime_data live
    using prepared_moves found
    where found.hour_start = :hour and not found.is_equal
      and live.ctid = found.place
      and live.log_partition = found.log_partition
      and live.log_offset = found.log_offset
    returning found.log_partition, found.log_offset, found.is_same
)
select
    count(*) as moved,
    count(*) filter (where is_same) as compared,
    count(*) filter (where is_same) as differing,
    min(array[log_partition, log_offset]) filter (where is_same) as first_differing
from moved
