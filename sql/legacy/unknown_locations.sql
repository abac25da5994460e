-- With the coordinates of the newest row that has them.
select unknown.location, max(newest.latitude) as latitude, max(newest.longitude) as longitude
from (
    select location, max(timestamp) filter (where latitude is not null) as timestamp
    from judged_rows
    where fate in ('moved', 'joined')
    group by location
    having not exists (select from locations known where known.name = location)
) unknown
left join lateral (
    select latitude, longitude
    from judged_rows old
    where old.fate in ('moved', 'joined') and old.timestamp = unknown.timestamp and old.location = unknown.location
        and old.latitude is not null
    order by table_no
    limit 1
) newest on true
group by unknown.location
