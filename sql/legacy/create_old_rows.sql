-- The old tables' rows in one shape: what is valid of each, and why the rest is not.
create temporary table old_rows (
    table_no smallint not null,     -- precedence: of a key, the lowest speaks first
    place tid not null,             -- of the row in its table, which nobody changes meanwhile
    id bigint,
    location text,
    timestamp timestamptz,
    latitude double precision,
    longitude double precision,
    aqi_value integer,
    traffic_level smallint,
    current_speed double precision,
    free_flow_speed double precision,
    created_at timestamptz,
    no_place text,                  -- why raw_data has no place for the row
    bad_measures text               -- which measures break a rule, and so count as missing
) on commit drop
