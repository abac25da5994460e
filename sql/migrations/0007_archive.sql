-- The archive: which file in a folder or an object store is a city day's, and which files are nobody's any more.

set local role lambda_owner;

create table raw_archives (
    city_date date primary key,
    version integer not null check (version > 0),    -- one more with every rewriting of the day
    path text not null unique,                       -- below LAMBDA_ARCHIVE_URL
    rows bigint not null check (rows > 0),
    bytes bigint not null check (bytes > 0),
    checksum text not null check (checksum ~ '^[0-9a-f]{64}$'),
    schema_version smallint not null,
    covered jsonb not null check (jsonb_typeof(covered) = 'object'),  -- by log partition the first offset not in it
    written_at timestamptz not null default now(),
    verified_at timestamptz,                         -- null: found damaged since; no reader relies on it
    run_id text not null
);

create table archive_leftovers (                     -- being written, replaced, or of a run that died
    path text primary key,
    noted_at timestamptz not null default now()
);

reset role;

grant insert, update, delete on raw_archives, archive_leftovers to lambda_writer;
