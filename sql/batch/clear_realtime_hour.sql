delete from realtime_hourly where hour_start = :hour
