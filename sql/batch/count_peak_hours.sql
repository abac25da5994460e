-- Rows by city day.
select analysis_date as day, 1 as rows
from peak_hours
where analysis_date >= :first and analysis_date < :until
