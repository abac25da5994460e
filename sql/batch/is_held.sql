-- Whether the speed layer still holds anything of the hour. To know it, every row that was just deleted is passed; in the
-- order of the table, which is what a bitmap is for, that is several times as fast.
select exists (select from realtime_data where hour_start = :hour)
