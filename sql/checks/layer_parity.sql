-- What the publishes found in the speed layer, against what batch says of the same positions.
select
    count(*) as hours,
    coalesce(sum(parity_compared), 0)::bigint as compared,
    coalesce(sum(parity_duplicates), 0)::bigint as duplicates,
    coalesce(sum(parity_differing), 0)::bigint as differing,
    coalesce(sum(parity_drift), 0)::bigint as drift,
    min(hour_start) filter (where parity_differing > 0 or parity_drift > 0) as first
from published_hours
where city_date >= :first and city_date < :until
