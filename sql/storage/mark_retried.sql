update dead_letters
set retried_at = now(), retried_partition = :partition, retried_offset = :offset
where id = :id
