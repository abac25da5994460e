-- The first schema. Names that the first system had are kept.
-- Runs as one transaction together with every other migration.

do $roles$
declare
    role_name text;
begin
    foreach role_name in array array['lambda_owner', 'lambda_writer', 'lambda_reader'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I nologin', role_name);
        end if;
    end loop;
    execute format('grant create, temporary on database %I to lambda_owner', current_database());
    execute format('grant temporary on database %I to lambda_writer', current_database());
end
$roles$;

grant lambda_owner to current_user;
grant usage, create on schema public to lambda_owner;
grant usage on schema public to lambda_writer, lambda_reader;
set local role lambda_owner;

-- ---------------------------------------------------------------- what this database belongs to

create table deployment (
    only_row boolean primary key default true check (only_row),
    city text not null,
    timezone text not null,
    history_start date not null,
    poll_interval_seconds integer check (poll_interval_seconds > 0),
    is_simulated boolean,                   -- null until a demo or live data comes in
    has_simulated_history boolean not null default false,
    created_at timestamptz not null default now()
);

create table locations (
    name text primary key check (name <> ''),
    aqicn_station text,
    latitude double precision check (latitude between -90 and 90),
    longitude double precision check (longitude between -180 and 180),
    is_active boolean not null default true,
    origin text not null check (origin in ('catalogue', 'import')),
    created_at timestamptz not null default now(),
    check ((latitude is null) = (longitude is null))
);

-- ---------------------------------------------------------------- the rules of the domain, as data for SQL
-- Filled from lambda_pipeline/domain at every upgrade and start.

create table aqi_bands (
    upper double precision primary key,     -- highest AQI that belongs to the band
    category text not null unique,
    colour text not null
);

create table traffic_levels (
    level smallint primary key,
    below double precision not null,        -- congestion ratio
    name text not null,
    english text not null
);

create table peak_windows (
    start_hour smallint primary key,        -- half-open, city hours
    end_hour smallint not null,
    check (start_hour >= 0 and start_hour < end_hour and end_hour <= 24)
);

create function aqi_category(aqi double precision) returns text
    language sql stable parallel safe
    return coalesce((select category from aqi_bands where aqi <= upper order by upper limit 1), 'Unknown');

create function is_peak_hour(city_hour integer) returns boolean
    language sql stable parallel safe
    return exists (select from peak_windows where city_hour >= start_hour and city_hour < end_hour);

-- ---------------------------------------------------------------- positions in the log

create table log_partitions (
    id smallint generated always as identity primary key,
    log_id uuid not null,                   -- Kafka's topic UUID; all zeros for file imports
    topic text not null,
    partition integer not null check (partition >= 0),
    created_at timestamptz not null default now(),
    unique (log_id, partition)
);

create table stream_offsets (               -- the speed layer's: next offset to consume
    log_partition smallint primary key references log_partitions,
    next_offset bigint not null check (next_offset >= 0),
    updated_at timestamptz not null default now()
);

create table raw_frontier (                 -- raw_data's: next offset to store
    log_partition smallint primary key references log_partitions,
    next_offset bigint not null check (next_offset >= 0),
    updated_at timestamptz not null default now()
);

create table log_gaps (                     -- offsets that nobody holds, [from_offset, to_offset)
    log_partition smallint not null references log_partitions,
    from_offset bigint not null,
    to_offset bigint not null check (to_offset > from_offset),
    layer text not null check (layer in ('speed', 'batch')),
    reason text not null,
    noted_at timestamptz not null default now(),
    primary key (log_partition, from_offset, layer)
);

create table dead_letters (
    id bigint generated always as identity primary key,
    log_partition smallint not null references log_partitions,
    log_offset bigint not null,
    appended_at timestamptz not null,
    key bytea,
    payload bytea,
    error text not null,
    created_at timestamptz not null default now(),
    unique (log_partition, log_offset)
);

-- ---------------------------------------------------------------- the batch layer's tables

create table raw_data (
    id bigint generated always as identity,
    timestamp timestamptz not null,
    location text not null,
    hour_start timestamptz not null,
    city_date date not null,
    latitude double precision,
    longitude double precision,
    aqi_value integer check (aqi_value between 0 and 1000),
    aqi_category varchar(50) not null,
    traffic_level smallint check (traffic_level between 1 and 5),
    current_speed double precision check (current_speed between 0 and 300),
    free_flow_speed double precision check (free_flow_speed between 0 and 300),
    congestion_ratio double precision,
    road_closure boolean,
    is_peak_hour boolean not null,
    pollutants jsonb,
    source text not null,
    log_partition smallint not null,
    log_offset bigint not null,
    is_processed boolean not null default true,   -- every row takes part in its hour's next publish
    created_at timestamptz not null default now(),
    primary key (location, timestamp)
) partition by range (timestamp);

create index raw_data_timestamp on raw_data (timestamp);

-- A month of raw_data, made when the first row of it is stored. Daemons may not create tables, so the owner does it.
create function ensure_raw_partition(month_start timestamptz) returns void
    language plpgsql security definer set search_path = public, pg_temp
as $$
declare
    first timestamptz := date_trunc('month', month_start, 'UTC');
    partition_name text := 'raw_data_' || to_char(first at time zone 'UTC', 'YYYY_MM');
begin
    if to_regclass('public.' || partition_name) is null then
        perform pg_advisory_xact_lock(hashtext('lambda_pipeline raw_data partitions'));
        if to_regclass('public.' || partition_name) is null then
            -- attached, not created in place: that would wait for every reader of raw_data, and all others for it
            execute format('create table %I (like raw_data including all excluding identity)', partition_name);
            execute format(
                'alter table raw_data attach partition %I for values from (%L) to (%L)',
                partition_name, first, date_trunc('month', first + interval '32 days', 'UTC'));
        end if;
    end if;
end
$$;

create table raw_hours (                    -- what raw_data holds, so that staleness never scans it
    hour_start timestamptz not null,
    log_partition smallint not null,
    city_date date not null,
    rows bigint not null,
    max_offset bigint not null,
    primary key (hour_start, log_partition)
);
create index raw_hours_city_date on raw_hours (city_date);

create table batch_coverage (               -- the hour's batch result holds exactly the positions below next_offset
    hour_start timestamptz not null,
    log_partition smallint not null references log_partitions,
    next_offset bigint not null,
    primary key (hour_start, log_partition)
);

create sequence publication_sequence;       -- drawn under the publish lock, so its order is the commits' order

create table published_hours (
    hour_start timestamptz primary key,
    city_date date not null,
    publication bigint not null,
    published_at timestamptz not null default now(),
    run_id text not null,
    engine text not null,
    rows bigint not null                    -- raw rows that the result rests on
);
create index published_hours_city_date on published_hours (city_date);

create table computed_days (                -- the last publication of the day that one of its tables took in
    city_date date not null,
    table_name text not null check (table_name in ('daily_aggregations', 'peak_hours_analysis', 'peak_hours')),
    publication bigint not null,
    computed_at timestamptz not null default now(),
    run_id text not null,
    primary key (city_date, table_name)
);

-- Speeds are summed in whole metres per hour and congestion ratios in billionths, so that sums merge exactly.
create table batch_aggregations (
    id bigint generated always as identity primary key,
    date date not null,
    hour smallint check (hour between 0 and 23),       -- null: the whole day
    hour_start timestamptz,
    location text not null,
    data_points_count integer not null,
    aqi_sum bigint not null,
    aqi_count integer not null,
    min_aqi integer,
    max_aqi integer,
    traffic_sum bigint not null,
    traffic_count integer not null,
    min_traffic smallint,
    max_traffic smallint,
    speed_sum_m_h bigint not null,
    speed_count integer not null,
    min_speed double precision,
    max_speed double precision,
    ratio_sum_ppb bigint not null,
    ratio_count integer not null,
    min_ratio double precision,
    max_ratio double precision,
    expected_count integer,
    is_peak_hour boolean,
    peak_data_points_count integer,
    peak_aqi_sum bigint,
    peak_aqi_count integer,
    peak_traffic_sum bigint,
    peak_traffic_count integer,
    avg_aqi double precision generated always as (aqi_sum::double precision / nullif(aqi_count, 0)) stored,
    avg_traffic double precision generated always as (traffic_sum::double precision / nullif(traffic_count, 0)) stored,
    created_at timestamptz not null default now(),
    check ((hour is null) = (hour_start is null))
);
create unique index batch_aggregations_hour on batch_aggregations (hour_start, location) where hour is not null;
create unique index batch_aggregations_day on batch_aggregations (date, location) where hour is null;
create index batch_aggregations_date on batch_aggregations (date) where hour is not null;
create index batch_aggregations_location on batch_aggregations (location, hour_start) where hour is not null;

create table city_hourly (                  -- one row an hour over all locations, written by the publish
    hour_start timestamptz primary key,
    date date not null,
    hour smallint not null,
    locations integer not null,
    data_points_count bigint not null,
    aqi_sum bigint not null,
    aqi_count bigint not null,
    min_aqi integer,
    max_aqi integer,
    traffic_sum bigint not null,
    traffic_count bigint not null,
    min_traffic smallint,
    max_traffic smallint,
    speed_sum_m_h bigint not null,
    speed_count bigint not null,
    ratio_sum_ppb bigint not null,
    ratio_count bigint not null,
    expected_count bigint
);
create index city_hourly_date on city_hourly (date);

create table peak_hours_analysis (
    id bigint generated always as identity primary key,
    date date not null,
    hour smallint not null,
    hour_start timestamptz not null,
    location text not null,
    avg_traffic_level double precision,
    avg_aqi_value double precision,
    is_peak_hour boolean not null,
    total_records integer not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (hour_start, location)
);
create index peak_hours_analysis_date on peak_hours_analysis (date);

create table peak_hours (
    id bigint generated always as identity primary key,
    analysis_date date not null unique,
    peak_aqi_hour smallint,
    peak_aqi_value double precision,
    peak_aqi_location text,
    peak_traffic_hour smallint,
    peak_traffic_value double precision,
    peak_traffic_location text,
    created_at timestamptz not null default now()
);

-- ---------------------------------------------------------------- the speed layer's tables

create table realtime_data (
    id bigint generated always as identity,
    timestamp timestamptz not null,
    location text not null,
    hour_start timestamptz not null,
    city_date date not null,
    latitude double precision,
    longitude double precision,
    aqi_value integer check (aqi_value between 0 and 1000),
    aqi_category varchar(50) not null,
    traffic_level smallint check (traffic_level between 1 and 5),
    current_speed double precision check (current_speed between 0 and 300),
    free_flow_speed double precision check (free_flow_speed between 0 and 300),
    congestion_ratio double precision,
    road_closure boolean,
    is_peak_hour boolean not null,
    pollutants jsonb,
    source text not null,
    log_partition smallint not null,
    log_offset bigint not null,
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    processing_timestamp timestamptz not null default clock_timestamp(),
    primary key (location, timestamp)
);
create index realtime_data_hour on realtime_data (hour_start);
create index realtime_data_position on realtime_data (log_partition, log_offset);

create table realtime_hourly (
    hour_start timestamptz not null,
    location text not null,
    date date not null,
    hour smallint not null,
    data_points_count integer not null,
    aqi_sum bigint not null,
    aqi_count integer not null,
    min_aqi integer,
    max_aqi integer,
    traffic_sum bigint not null,
    traffic_count integer not null,
    min_traffic smallint,
    max_traffic smallint,
    speed_sum_m_h bigint not null,
    speed_count integer not null,
    min_speed double precision,
    max_speed double precision,
    ratio_sum_ppb bigint not null,
    ratio_count integer not null,
    min_ratio double precision,
    max_ratio double precision,
    primary key (hour_start, location)
);
create index realtime_hourly_date on realtime_hourly (date);

create table latest_observations (          -- per measure its newest value and when it was observed
    location text primary key,
    observed_at timestamptz not null,
    latitude double precision,
    longitude double precision,
    aqi_value integer,
    aqi_observed_at timestamptz,
    aqi_measured_at timestamptz,
    dominant_pollutant text,
    pollutants jsonb,
    attributions jsonb,
    traffic_level smallint,
    traffic_observed_at timestamptz,
    current_speed double precision,
    free_flow_speed double precision,
    road_closure boolean,
    updated_at timestamptz not null default now()
);

-- ---------------------------------------------------------------- rights

reset role;
grant select on all tables in schema public to lambda_reader, lambda_writer;
grant insert, update, delete on
    raw_data, raw_hours, raw_frontier, batch_coverage, published_hours, computed_days, batch_aggregations, city_hourly,
    peak_hours_analysis, peak_hours, realtime_data, realtime_hourly, latest_observations, stream_offsets, log_gaps,
    dead_letters, log_partitions, locations, deployment, aqi_bands, traffic_levels, peak_windows
    to lambda_writer;
grant usage on sequence publication_sequence to lambda_writer;
revoke execute on function ensure_raw_partition(timestamptz) from public;
grant execute on function ensure_raw_partition(timestamptz) to lambda_writer;
alter default privileges for role lambda_owner in schema public grant select on tables to lambda_reader, lambda_writer;
