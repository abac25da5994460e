-- How many observations are served of a range, from the hours' counts.
select
    case when :is_speed then (
        select coalesce(sum(data_points_count), 0)
        from realtime_hourly
        where hour_start >= :start_at and hour_start < :end_at
          and (cast(:locations as text[]) is null or location = any(:locations))
    ) else 0 end
    + case when not :is_batch then 0 when cast(:locations as text[]) is null then (
        select coalesce(sum(data_points_count), 0)
        from city_hourly
        where hour_start >= :start_at and hour_start < :end_at
    ) else (
        select coalesce(sum(data_points_count), 0)
        from batch_aggregations
        where hour is not null
          and hour_start >= :start_at and hour_start < :end_at
          and location = any(cast(:locations as text[]))
    ) end
