-- By position: hours whose highest stored position is not covered; all hours that raw_data holds on request.
select stored.hour_start, sum(stored.rows)::bigint as rows, min(stored.city_date) as city_date
from raw_hours stored
left join batch_coverage covered using (hour_start, log_partition)
where stored.city_date >= :first and stored.city_date < :until
group by stored.hour_start
having :all or bool_or(stored.max_offset >= coalesce(covered.next_offset, 0))
order by stored.hour_start
