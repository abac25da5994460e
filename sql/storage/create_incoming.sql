create temporary table if not exists incoming (
    location text,
    timestamp timestamptz,
    hour_start timestamptz,
    city_date date,
    latitude double precision,
    longitude double precision,
    aqi_value integer,
    aqi_category varchar,
    traffic_level smallint,
    current_speed double precision,
    free_flow_speed double precision,
    congestion_ratio double precision,
    road_closure boolean,
    is_peak_hour boolean,
    pollutants text,    -- JSON, cast where it is inserted
    source text,
    log_partition smallint,
    log_offset bigint,
    aqi_measured_at timestamptz,
    dominant_pollutant text,
    attributions text
) on commit delete rows
