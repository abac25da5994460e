-- Where an engine's sums land; belongs to the session. A place stands for a location, so that every row is as long as
-- the next. What a count of 0 says to be missing may be any number here.
create temporary table if not exists landed_places (
    place integer not null,
    location text not null
);
create temporary table if not exists landed_aggregations (
    hour_start timestamptz not null,
    place integer not null,
    date date not null,
    data_points_count integer not null,
    aqi_sum bigint not null,
    aqi_count integer not null,
    min_aqi integer not null,
    max_aqi integer not null,
    traffic_sum bigint not null,
    traffic_count integer not null,
    min_traffic smallint not null,
    max_traffic smallint not null,
    speed_sum_m_h bigint not null,
    speed_count integer not null,
    min_speed double precision not null,
    max_speed double precision not null,
    ratio_sum_ppb bigint not null,
    ratio_count integer not null,
    min_ratio double precision not null,
    max_ratio double precision not null
);
truncate landed_places, landed_aggregations
