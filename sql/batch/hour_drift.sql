select coalesce((select locations from prepared_drift where hour_start = :hour), 0)
