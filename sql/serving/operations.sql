-- What an operator asks of the database, in one row.
select
    now() as asked_at,
    pg_database_size(current_database()) as database_bytes,
    (select version_num from schema_version) as schema_version,
    (select city from deployment) as city,
    (select timezone from deployment) as timezone,
    (select poll_interval_seconds from deployment) as poll_interval_seconds,
    (select count(*) from published_hours) as published_hours,
    (select max(updated_at) from stream_offsets) as offsets_moved_at,
    count(*) filter (where retried_at is null) as open_letters,
    count(*) filter (where retried_at is null and created_at >= now() - interval '24 hours') as new_letters,
    count(*) filter (where retried_at is not null) as retried_letters
from dead_letters
