delete from incoming i
using unnest(cast(:partitions as smallint[]), cast(:offsets as bigint[])) as d(log_partition, log_offset)
where i.log_partition = d.log_partition and i.log_offset = d.log_offset
