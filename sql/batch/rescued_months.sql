select distinct date_trunc('month', timestamp, 'UTC')
from realtime_data
where log_partition = :partition and log_offset >= :from and log_offset < :to
