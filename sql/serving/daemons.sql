select
    role, host, pid, version, started_at, seen_at, stopped_at, detail,
    extract(epoch from now() - seen_at)::double precision as silent_seconds
from daemons
order by role, stopped_at is not null, seen_at desc, host, pid
