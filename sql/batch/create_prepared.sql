-- Where a prepared publish waits for its swap; belongs to the session.
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
    primary key (hour_start, location)
);
truncate prepared_frontiers, prepared_aggregations
