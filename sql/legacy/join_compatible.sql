-- Rows of a third table that contradict only one that is set aside itself join after all. A table at a time, in their
-- order: what joins is looked at by the next one's.
update judged_rows late
set fate = 'joined', reason = null
where table_no = :table_no and contradicts
  and not exists (
    select
    from judged_rows kept
    where kept.location = late.location and kept.timestamp = late.timestamp
      and kept.fate in ('moved', 'joined')
      and (
        kept.aqi_value <> late.aqi_value or kept.traffic_level <> late.traffic_level
        or kept.current_speed <> late.current_speed or kept.free_flow_speed <> late.free_flow_speed
      )
  )
