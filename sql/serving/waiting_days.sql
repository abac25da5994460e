-- City days with stale hours that are over for a while (an hour is published soon after its end), and since when they
-- wait: since they were seen stale, where the sensor has seen them, else since their first stale hour ended.
with stale as (
    select distinct hour_start, date as city_date from realtime_hourly
    union
    select stored.hour_start, stored.city_date
    from raw_hours stored
    left join batch_coverage covered using (hour_start, log_partition)
    where stored.max_offset >= coalesce(covered.next_offset, 0)
)
select
    stale.city_date,
    count(*)::integer as hours,
    coalesce(max(catch_up.first_seen_at), min(stale.hour_start) + interval '1 hour') as since
from stale
left join catch_up using (city_date)
where stale.hour_start + interval '1 hour' <= now() - make_interval(mins => :minutes)
group by stale.city_date
order by stale.city_date
