select topic || '[' || partition || ']@' || cast(:offset as text) from log_partitions where id = :partition
