-- What an upgrade of one of the first system's databases could not put into raw_data as it was.

set local role lambda_owner;

create table raw_data_duplicates (          -- old rows whose location and timestamp another row stands for
    id bigint generated always as identity primary key,
    old_table text not null,
    old_id bigint,
    location text not null,
    timestamp timestamptz not null,
    reason text not null,
    old_row jsonb not null,                 -- the row as it was, every column
    kept_at timestamptz not null default now()
);
create index raw_data_duplicates_key on raw_data_duplicates (location, timestamp);

create table raw_data_rejects (             -- old rows that break a rule, wholly or in some of their measures
    id bigint generated always as identity primary key,
    old_table text not null,
    old_id bigint,
    location text,
    timestamp timestamptz,
    reason text not null,
    is_stored boolean not null,             -- raw_data holds the rest of the row, the bad measures missing
    old_row jsonb not null,
    kept_at timestamptz not null default now()
);
create index raw_data_rejects_key on raw_data_rejects (location, timestamp);

reset role;
