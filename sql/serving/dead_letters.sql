select
    place.topic || '[' || place.partition || ']@' || letter.log_offset as position,
    letter.appended_at,
    letter.error,
    substring(letter.key from 1 for :bytes) as key,
    substring(letter.payload from 1 for :bytes) as payload,
    octet_length(letter.payload) as payload_bytes
from dead_letters letter
join log_partitions place on place.id = letter.log_partition
where letter.retried_at is null
order by letter.appended_at desc, letter.id desc
limit :limit offset :offset
