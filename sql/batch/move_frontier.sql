insert into raw_frontier as stored (log_partition, next_offset)
values (:partition, :offset)
on conflict (log_partition) do update set
    next_offset = greatest(stored.next_offset, excluded.next_offset), updated_at = now()
