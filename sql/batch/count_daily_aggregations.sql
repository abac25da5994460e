-- Rows by city day.
select date as day, count(*) as rows
from batch_aggregations
where hour is null and date >= :first and date < :until
group by date
