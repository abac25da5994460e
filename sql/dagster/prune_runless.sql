-- What sensors have noted outside of any run (observations, checks), in Dagster's own storage. Nothing of Dagster's
-- removes it. The newest of each asset and kind stays, so that the graph goes on to show when it was.
delete from event_logs
where id in (
    select id
    from event_logs event
    where run_id = ''
      and timestamp < now() at time zone 'utc' - make_interval(days => :days)
      and exists (
          select from event_logs newer
          where newer.asset_key = event.asset_key
            and newer.dagster_event_type = event.dagster_event_type
            and newer.id > event.id
      )
    order by id
    limit :limit
)
