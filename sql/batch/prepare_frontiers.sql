insert into prepared_frontiers (log_partition, next_offset)
select log_partition, next_offset from raw_frontier
