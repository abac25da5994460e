-- Rows by city day.
select date as day, count(*) as rows
from peak_hours_analysis
where date >= :first and date < :until
group by date
