-- The batch layer: which catalogue both layers judge by, what a publish found in the speed layer, catching up.

set local role lambda_owner;

-- Bumped whenever what validity depends on changes: the locations known, the start of history.
alter table deployment add column catalogue_version bigint not null default 1;

-- Layer parity: what this publication removed from the speed layer, against what batch says of the same positions. The
-- last two ought to be 0. An hour that is published again starts anew: its rows of before have left the speed layer.
alter table published_hours
    add column parity_compared bigint not null default 0,    -- rows that batch has from the same position
    add column parity_duplicates bigint not null default 0,  -- rows whose key batch has from another position
    add column parity_differing bigint not null default 0,   -- compared rows with another AQI, level, speed or ratio
    add column parity_drift bigint not null default 0;       -- locations whose realtime_hourly was not the sum of its rows

-- City days with something stale, as the sensor that catches up has seen and tried them; a day leaves when it is fresh.
create table catch_up (
    city_date date primary key,
    hours integer not null,                 -- stale closed hours; 0 where only the day's tables are
    positions text not null,                -- a digest of the stale positions: new with every late record
    first_seen_at timestamptz not null,     -- when the day was first seen stale
    changed_at timestamptz not null,        -- when these positions were
    attempts integer not null default 0,    -- runs in a row that did not help
    requested_at timestamptz,
    run_key text                            -- of the last run
);

-- Rules of the domain, as data for SQL: when an hour of an average day is an observed peak.
create table observed_peak_rules (
    measure text primary key,
    share double precision not null,        -- of the way from the calmest to the worst hour
    least_days integer not null,            -- on which the hour was observed
    least_range double precision not null   -- between the calmest and the worst hour
);

reset role;

grant insert, update, delete on catch_up, observed_peak_rules to lambda_writer;
