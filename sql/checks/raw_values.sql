-- Rows that break a rule of the domain, and the first of them. Which hour a row is published with is decided by its
-- hour_start, and which day by its city_date: the hours are compared with the zone, the rows with the hours.
with hours as (
    select
        hour_start,
        min(city_date) as city_date,
        bool_or(hour_start <> date_trunc('hour', hour_start, :timezone)
            or city_date <> (hour_start at time zone :timezone)::date) as is_wrong
    from raw_hours
    where city_date >= :first and city_date < :until
    group by hour_start
),
broken as (
    select r.location, r.timestamp, r.log_partition, r.log_offset
    from raw_data r
    left join hours h on h.hour_start = r.hour_start
    left join locations place on place.name = r.location
    where r.timestamp >= :start_at and r.timestamp < :end_at
      and (r.aqi_value not between 0 and 1000
        or r.traffic_level not between 1 and 5
        or r.current_speed not between 0 and 300
        or r.free_flow_speed not between 0 and 300
        or place.name is null
        or h.hour_start is null
        or h.is_wrong
        or r.timestamp < r.hour_start
        or r.timestamp >= r.hour_start + interval '1 hour'
        or r.city_date <> h.city_date)
)
select
    (select count(*) from broken) as broken,
    (select p.topic || '[' || p.partition || ']@' || b.log_offset || ' (' || b.location || ', ' || b.timestamp || ')'
     from broken b left join log_partitions p on p.id = b.log_partition
     order by b.timestamp, b.location limit 1) as first
