-- Whether the speed layer still holds anything of the hour.
select exists (select from realtime_data where hour_start = :hour)
