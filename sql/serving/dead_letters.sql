select
    place.topic || '[' || place.partition || ']@' || letter.log_offset, letter.appended_at, letter.error,
    substring(letter.key from 1 for :bytes), substring(letter.payload from 1 for :bytes),
    octet_length(letter.payload)
from dead_letters letter
join log_partitions place on place.id = letter.log_partition
order by letter.appended_at desc, letter.id desc
limit :limit offset :offset
