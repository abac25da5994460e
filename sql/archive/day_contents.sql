-- What raw_data holds of a city day, by the hours that are counted as they are stored; nulls where it holds nothing.
select
    min(hour_start) as start_at,
    max(hour_start) + interval '1 hour' as end_at,
    sum(rows)::bigint as rows
from raw_hours
where city_date = :day
