-- Which of the hours the speed layer holds anything of; in a long backfill none.
select wanted.hour_start
from unnest(cast(:hours as timestamptz[])) as wanted (hour_start)
where exists (select from realtime_data live where live.hour_start = wanted.hour_start)
   or exists (select from realtime_hourly hourly where hourly.hour_start = wanted.hour_start)
