-- Compare and swap: nothing is updated if another consumer moved the offset meanwhile.
insert into stream_offsets as stored (log_partition, next_offset)
select :partition, :next
where :expected = 0 or exists (select from stream_offsets where log_partition = :partition)
on conflict (log_partition) do update set next_offset = excluded.next_offset, updated_at = now()
where stored.next_offset = :expected
