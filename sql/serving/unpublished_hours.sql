-- Hours of a city day with a stored position that their result does not cover, and what it does.
select stored.hour_start, stored.log_partition, coalesce(covered.next_offset, 0) as next_offset
from raw_hours stored
left join batch_coverage covered using (hour_start, log_partition)
where stored.city_date = :day and stored.max_offset >= coalesce(covered.next_offset, 0)
