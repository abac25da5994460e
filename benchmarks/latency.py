"""Produced to served, at a steady rate: how long until a reader sees an observation.

A reader with the reader's role asks every few milliseconds up to which position each log partition can be seen; a
commit makes a contiguous range of positions visible, so an observation was visible when its position first was at or
below that. `processing_timestamp` would say less: it is taken before the commit.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from benchmarks.daemons import Daemon, spawn_module, speed_daemons
from benchmarks.load import PARTITIONS
from benchmarks.observations import SLOT
from benchmarks.servers import Servers
from lambda_pipeline.local import processes
from lambda_pipeline.stream.topic import ensure_topic

_POLL_SECONDS = 0.005
_WARM_SECONDS = 5
_PATIENCE_SECONDS = 60.0
_VISIBLE = """
select p.partition, newest.log_offset
from log_partitions p
cross join lateral (
    select r.log_offset
    from realtime_data r
    where r.hour_start = %s and r.log_partition = p.id
    order by r.log_offset desc
    limit 1
) newest
"""
Sample = tuple[float, int]  # a monotonic instant, and the highest position that was visible then


def run_latency(servers: Servers, start: datetime, rate: int, seconds: int) -> list[float]:
    """Milliseconds from due to visible of every observation but those of the first seconds, which warm up.

    All observations have to be of the hour that begins at `start`, so that an index answers the reader.
    """
    expected = rate * (seconds + _WARM_SECONDS)
    if expected > len(servers.city.locations) * (timedelta(hours=1) // SLOT):
        raise ValueError("that is more than an hour's observations.")
    name = servers.name("paced")
    ensure_topic(servers.connection, name, PARTITIONS)
    file = servers.home.logs / f"{name}.txt"
    arguments = [servers.broker.bootstrap_servers, name, str(len(servers.city.locations)), start.isoformat(), str(rate)]
    with servers.database() as database, speed_daemons(servers, database, name, name) as daemons:
        log_file = servers.home.logs / f"{name}.log"
        producer = spawn_module(
            "benchmarks.paced", [*arguments, str(seconds + _WARM_SECONDS), str(file)], log_file, servers, {}
        )
        try:
            with closing(database.connect("lambda_reader")) as connection:
                samples = _watch(connection, start, expected, daemons[0], log_file)
            processes.wait_until(file.exists, _PATIENCE_SECONDS)
        finally:
            processes.stop(producer)
    return latencies(file.read_text(encoding="utf-8"), samples, _WARM_SECONDS)


def latencies(sent: str, samples: dict[int, list[Sample]], warm_seconds: float) -> list[float]:
    """Milliseconds per message out of the producer's lines and the reader's samples by partition."""
    found = []
    first: float | None = None
    offsets = {partition: [offset for _, offset in seen] for partition, seen in samples.items()}
    for line in sent.splitlines():
        partition, offset, due = line.split()
        first = float(due) if first is None else first
        if float(due) < first + warm_seconds:
            continue
        position = bisect_left(offsets[int(partition)], int(offset))
        found.append((samples[int(partition)][position][0] - float(due)) * 1000)
    return found


def _watch(
    connection: psycopg.Connection, hour: datetime, expected: int, daemon: Daemon, log_file: Path
) -> dict[int, list[Sample]]:
    """Sample what is visible until all expected records are."""
    samples: dict[int, list[Sample]] = defaultdict(list)
    moved = time.monotonic()
    while sum(seen[-1][1] + 1 for seen in samples.values()) < expected:
        found = connection.execute(_VISIBLE, [hour]).fetchall()
        now = time.monotonic()
        for partition, offset in found:
            if not samples[partition] or samples[partition][-1][1] < offset:
                samples[partition].append((now, offset))
                moved = now
        daemon.check()
        if now > moved + _PATIENCE_SECONDS:
            raise RuntimeError(f"nothing came for long; the producer:\n{processes.log_tail(log_file)}")
        time.sleep(_POLL_SECONDS)
    return samples
