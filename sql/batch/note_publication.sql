insert into published_hours (hour_start, city_date, publication, run_id, engine, rows)
select hour_start, min(date), nextval('publication_sequence'), :run_id, :engine, sum(data_points_count)
from prepared_aggregations
where hour_start = :hour
group by hour_start
on conflict (hour_start) do update set
    publication = excluded.publication,
    published_at = now(),
    run_id = excluded.run_id,
    engine = excluded.engine,
    rows = excluded.rows
returning rows
