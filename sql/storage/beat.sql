-- By the database's clock, so that machines whose clocks differ agree about who is alive.
insert into daemons as known (role, host, pid, version, started_at, seen_at, stopped_at, detail)
values (
    :role, :host, :pid, :version, now() - make_interval(secs => :age), now(),
    case when :is_stopped then now() end, cast(:detail as jsonb)
)
on conflict (role, host, pid) do update set
    version = excluded.version,
    -- the same process, or the next one by its number, as in a container that was started again
    started_at = case
        when abs(extract(epoch from known.started_at - excluded.started_at)) < 1 then known.started_at
        else excluded.started_at
    end,
    seen_at = excluded.seen_at,
    stopped_at = excluded.stopped_at,
    detail = excluded.detail
