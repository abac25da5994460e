-- Up to which publication a day's table has taken its hours in; read before the hours, so never too high.
insert into computed_days (city_date, table_name, publication, run_id)
select city_date, :table_name, max(publication), :run_id
from published_hours
where city_date >= :first and city_date < :until
group by city_date
on conflict (city_date, table_name) do update set
    publication = excluded.publication, computed_at = now(), run_id = excluded.run_id
