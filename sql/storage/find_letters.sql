-- Dead letters that match, newest first; of their payload the first bytes.
select
    letter.id,
    place.log_id,
    place.topic,
    place.partition,
    letter.log_offset,
    letter.appended_at,
    letter.created_at,
    letter.key,
    substring(letter.payload from 1 for :bytes) as payload,
    octet_length(letter.payload) as payload_bytes,
    letter.error,
    letter.retried_at,
    again.topic as retried_topic,
    again.partition as retried_to,
    letter.retried_offset
from dead_letters letter
join log_partitions place on place.id = letter.log_partition
left join log_partitions again on again.id = letter.retried_partition
where (:with_retried or letter.retried_at is null)
  and (cast(:ids as bigint[]) is null or letter.id = any(cast(:ids as bigint[])))
  and (cast(:since as timestamptz) is null or letter.appended_at >= cast(:since as timestamptz))
  and (cast(:reason as text) is null or position(lower(cast(:reason as text)) in lower(letter.error)) > 0)
order by letter.appended_at desc, letter.id desc
limit :limit
