select coalesce(sum(rows), 0)::bigint from raw_hours where city_date >= :first and city_date < :until
