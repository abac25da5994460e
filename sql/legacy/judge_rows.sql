-- What becomes of every old row. Of a key (location and timestamp) the first row of the first table is moved; the
-- first row of another table joins it, unless it says otherwise about a measure; all others are duplicates.
create temporary table judged_rows on commit drop as
with ranked as (
    select
        *,
        row_number() over (
            partition by location collate "C", timestamp, table_no order by id, place
        ) as copy
    from old_rows
    where no_place is null
),
compared as (
    select
        *,
        row_number() over key_order as rank,
        coalesce(
            aqi_value <> min(aqi_value) filter (where copy = 1) over earlier
            or aqi_value <> max(aqi_value) filter (where copy = 1) over earlier, false
        )
        or coalesce(
            traffic_level <> min(traffic_level) filter (where copy = 1) over earlier
            or traffic_level <> max(traffic_level) filter (where copy = 1) over earlier, false
        )
        or coalesce(
            current_speed <> min(current_speed) filter (where copy = 1) over earlier
            or current_speed <> max(current_speed) filter (where copy = 1) over earlier, false
        )
        or coalesce(
            free_flow_speed <> min(free_flow_speed) filter (where copy = 1) over earlier
            or free_flow_speed <> max(free_flow_speed) filter (where copy = 1) over earlier, false
        ) as contradicts
    from ranked
    window
        key_order as (partition by location collate "C", timestamp order by table_no, id, place),
        earlier as (key_order rows between unbounded preceding and 1 preceding)
)
select
    table_no, place, id, location, timestamp, latitude, longitude, aqi_value, traffic_level, current_speed,
    free_flow_speed, created_at, bad_measures,
    case when rank = 1 then 'moved' when copy = 1 and not contradicts then 'joined' else 'duplicate' end as fate,
    case
        when rank = 1 then null
        when copy > 1 then 'an earlier row of the table has this location and timestamp'
        when contradicts then 'another table has other values for this location and timestamp'
    end as reason,
    copy = 1 and contradicts as contradicts
from compared
union all
select
    table_no, place, id, location, timestamp, latitude, longitude, aqi_value, traffic_level, current_speed,
    free_flow_speed, created_at, bad_measures, 'rejected', no_place, false
from old_rows
where no_place is not null
