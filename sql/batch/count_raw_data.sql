-- Rows by city day.
select city_date as day, sum(rows)::bigint as rows
from raw_hours
where city_date >= :first and city_date < :until
group by city_date
