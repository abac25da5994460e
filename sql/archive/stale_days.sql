-- By position, never by clock: city days of which raw_data holds other rows than their archive covers. A day whose file
-- was never written, was found damaged, or is of an older schema is one too; all that raw_data holds on request.
select stored.city_date, sum(stored.rows)::bigint as rows
from raw_hours stored
left join raw_archives kept using (city_date)
where stored.city_date >= :first and stored.city_date < :until
group by stored.city_date, kept.rows, kept.verified_at, kept.schema_version
having :all
    or kept.verified_at is null
    or kept.schema_version < :schema_version
    or kept.rows <> sum(stored.rows)
    or bool_or(stored.max_offset >= coalesce((kept.covered ->> stored.log_partition::text)::bigint, 0))
order by stored.city_date
