-- Of the records that a commit covers, those that the batch layer has found invalid.
select d.log_partition, d.log_offset
from unnest(cast(:partitions as smallint[]), cast(:expected as bigint[]), cast(:next as bigint[]))
    as m(log_partition, expected, next)
cross join lateral (
    select log_partition, log_offset
    from dead_letters
    where log_partition = m.log_partition and log_offset >= m.expected and log_offset < m.next
    offset 0
) d
