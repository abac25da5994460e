insert into published_hours (
    hour_start, city_date, publication, run_id, engine, rows,
    parity_compared, parity_duplicates, parity_differing, parity_drift
)
select
    hour_start, date, nextval('publication_sequence'), :run_id, :engine, data_points_count,
    :compared, :duplicates, :differing, :drift
from prepared_cities
where hour_start = :hour
on conflict (hour_start) do update set
    publication = excluded.publication,
    published_at = now(),
    run_id = excluded.run_id,
    engine = excluded.engine,
    rows = excluded.rows,
    parity_compared = excluded.parity_compared,
    parity_duplicates = excluded.parity_duplicates,
    parity_differing = excluded.parity_differing,
    parity_drift = excluded.parity_drift
