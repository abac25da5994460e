-- City hours that are observed peaks in at least half of the locations, by kind of day, beside the configured ones.
with hours as (
    select
        is_weekend, hour, bool_or(is_peak_hour) as is_configured,
        count(*) filter (where is_traffic_peak) * 2 >= count(*) as is_traffic,
        count(*) filter (where is_aqi_peak) * 2 >= count(*) as is_aqi
    from observed_peaks(:first, :until)
    group by is_weekend, hour
)
select
    case when is_weekend then 'weekend' else 'weekdays' end as days,
    string_agg(lpad(hour::text, 2, '0'), ', ' order by hour) filter (where is_configured) as configured,
    string_agg(lpad(hour::text, 2, '0'), ', ' order by hour) filter (where is_traffic) as traffic,
    string_agg(lpad(hour::text, 2, '0'), ', ' order by hour) filter (where is_aqi) as aqi
from hours
group by is_weekend
order by is_weekend
