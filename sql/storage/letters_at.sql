-- The dead letters at a position; several where a topic of this name was recreated or cut short.
select letter.id
from dead_letters letter
join log_partitions place on place.id = letter.log_partition
where place.topic = :topic and place.partition = :partition and letter.log_offset = :offset
order by letter.id
