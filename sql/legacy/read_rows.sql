-- A stretch of an old table, judged by today's rules. `moved_table` stands for the table's name.
-- A column that the table lacks is looked up one level out, where it is null. Fractions become numeric by way of
-- their text, which is exact and never overflows.
insert into old_rows
select
    cast(:table_no as smallint), place, id, location, timestamp,
    case when on_earth then latitude::double precision end,
    case when on_earth then longitude::double precision end,
    case when good_aqi then aqi::integer end,
    case when good_level then level::smallint end,
    case when good_speed then speed::double precision end,
    case when good_free_flow then free_flow::double precision end,
    case when isfinite(created) then created end,
    case
        when timestamp is null then 'no timestamp'
        when location is null or btrim(location, E' \t\r\n') = '' then 'no location'
        when length(location) > :max_name_length then 'location of more than ' || :max_name_length || ' characters'
        when timestamp < :earliest then 'timestamp before ' || cast(:earliest as date)
        when timestamp > :latest then 'timestamp from the future'
    end,
    nullif(concat_ws(
        ', ',
        case when not on_earth then format('latitude %s, longitude %s', latitude, longitude) end,
        case when not good_aqi then 'aqi_value ' || aqi end,
        case when not good_level then 'traffic_level ' || level end,
        case when not good_speed then 'current_speed ' || speed end,
        case when not good_free_flow then 'free_flow_speed ' || free_flow end
    ), '')
from (
    select
        *,
        case when num_nulls(latitude, longitude) < 2 then coalesce(
            latitude between -90 and 90 and longitude between -180 and 180, false
        ) end as on_earth,
        aqi = trunc(aqi) and aqi between 0 and :max_aqi as good_aqi,
        level = trunc(level) and level between 1 and 5 as good_level,
        speed between 0 and cast(:max_speed as numeric) as good_speed,
        free_flow = 0 or free_flow between cast(:min_free_flow as numeric) and cast(:max_speed as numeric)
            as good_free_flow
    from (
        select
            null::numeric as aqi_value, null::numeric as traffic_level, null::numeric as current_speed,
            null::numeric as free_flow_speed, null::timestamptz as created_at
    ) as lacking
    cross join lateral (
        select
            ctid as place, id::bigint, location::text, timestamp::timestamptz, latitude::text::numeric,
            longitude::text::numeric, aqi_value::numeric as aqi, traffic_level::numeric as level,
            current_speed::text::numeric as speed, free_flow_speed::text::numeric as free_flow,
            created_at::timestamptz as created
        from legacy.moved_table
        where ctid >= format('(%s,0)', :from_block)::tid and ctid < format('(%s,0)', :to_block)::tid
    ) as old
) as judged
