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

reset role;
