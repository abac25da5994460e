-- Hours of the window of which the speed layer holds something.
select count(distinct hour_start) from realtime_hourly where date >= :first and date < :until
