-- City days that runs have recomputed again and again without making them fresh.
select city_date, hours, attempts, first_seen_at, run_key
from catch_up
where attempts >= :attempts
order by city_date
