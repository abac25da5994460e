-- Compare and swap, all partitions of a batch at once; returns those that another consumer moved meanwhile.
with moves as materialized (
    select *
    from unnest(cast(:partitions as smallint[]), cast(:expected as bigint[]), cast(:next as bigint[]))
        as m(log_partition, expected, next)
),
moved as (
    insert into stream_offsets as stored (log_partition, next_offset)
    select log_partition, next
    from moves
    where expected = 0 or exists (select from stream_offsets s where s.log_partition = moves.log_partition)
    order by log_partition
    on conflict (log_partition) do update set next_offset = excluded.next_offset, updated_at = now()
    where stored.next_offset = (select expected from moves m where m.log_partition = excluded.log_partition)
    returning log_partition
)
select log_partition from moves
except
select log_partition from moved
