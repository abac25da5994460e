select
    city_date, version, path, rows, bytes, checksum, schema_version, covered, written_at, verified_at, run_id
from raw_archives
where city_date >= :first and city_date < :until
order by city_date
