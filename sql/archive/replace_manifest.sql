insert into raw_archives as known (
    city_date, version, path, rows, bytes, checksum, schema_version, covered, verified_at, run_id
)
values (
    :city_date, :version, :path, :rows, :bytes, :checksum, :schema_version, cast(:covered as jsonb), now(), :run_id
)
on conflict (city_date) do update set
    version = excluded.version,
    path = excluded.path,
    rows = excluded.rows,
    bytes = excluded.bytes,
    checksum = excluded.checksum,
    schema_version = excluded.schema_version,
    covered = excluded.covered,
    written_at = excluded.written_at,
    verified_at = excluded.verified_at,
    run_id = excluded.run_id
where known.version = :before
returning city_date
