-- Where a prepared publish waits for its swap; belongs to the session. All that can be known without the lock is in
-- here, so that the swap, for which every speed commit waits, only moves rows.
create temporary table if not exists prepared_frontiers (
    log_partition smallint primary key,
    next_offset bigint not null
);
create temporary table if not exists prepared_aggregations (
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
    is_peak_hour boolean not null,
    expected_count integer,
    primary key (hour_start, location)
);
create temporary table if not exists prepared_cities (like city_hourly, primary key (hour_start));
-- What the speed layer holds of the hours and raw_data too, found before the lock is taken. A swap deletes by `place`,
-- where a row can be fetched without a search, and only if the position is still the one that was found there.
create temporary table if not exists prepared_moves (
    hour_start timestamptz not null,
    place tid not null,
    log_partition smallint not null,
    log_offset bigint not null,
    is_same boolean not null,               -- raw_data has the key from this position, not from another one
    is_equal boolean not null               -- is_same, and with the same values
);
create index if not exists prepared_moves_hour on prepared_moves (hour_start, is_equal, place);
create temporary table if not exists prepared_drift (
    hour_start timestamptz primary key,
    locations integer not null              -- whose row of realtime_hourly is not the sum of their observations
);
truncate prepared_frontiers, prepared_aggregations, prepared_cities, prepared_moves, prepared_drift
