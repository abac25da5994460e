-- Executions of asset checks, in Dagster's own storage, which outlive their runs. The newest of each check stays.
delete from asset_check_executions
where id in (
    select id
    from asset_check_executions execution
    where create_timestamp < now() at time zone 'utc' - make_interval(days => :days)
      and exists (
          select from asset_check_executions newer
          where newer.asset_key = execution.asset_key
            and newer.check_name = execution.check_name
            and newer.partition is not distinct from execution.partition
            and newer.id > execution.id
      )
    order by id
    limit :limit
)
