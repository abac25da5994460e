"""The flood: how fast daemons take a loaded topic, seen from outside.

A run has a fresh database and a fresh consumer group. The clock starts when every daemon has committed for the first
time, so that starting up is not in it, and stops when `stream_offsets` has reached the topic's end; the rate is the
records between. What is in `stream_offsets` is committed together with its rows, so nothing else need be asked.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from benchmarks.daemons import Daemon, ProcessorTime, speed_daemons
from benchmarks.load import LoadedTopic
from benchmarks.servers import EMPTY, Database, Servers

_POLL_SECONDS = 0.05
_MEMORY_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0  # without any progress
_OFFSETS = """
select p.partition, o.next_offset
from stream_offsets o join log_partitions p on p.id = o.log_partition
where p.log_id = %s
"""


@dataclass(frozen=True)
class Flood:
    """What a flood did: records in seconds, memory samples in MiB, and the cores that each party took."""

    records: int
    seconds: float
    memory: tuple[float, ...]
    cores: dict[str, float]

    @property
    def rate(self) -> float:
        """Observations a second, consumed to committed."""
        return self.records / self.seconds

    @property
    def growth(self) -> float:
        """MiB between the means of the first and the last third of the memory samples."""
        third = max(1, len(self.memory) // 3)
        return sum(self.memory[-third:]) / third - sum(self.memory[:third]) / third


def run_flood(servers: Servers, loaded: LoadedTopic, daemons: int = 1, template: str = EMPTY) -> Flood:
    """One run of so many daemons on a copy of the template database."""
    with servers.database(template) as database:
        return flood_database(servers, loaded, database, daemons)


def flood_database(
    servers: Servers,
    loaded: LoadedTopic,
    database: Database,
    daemons: int = 1,
    on_start: Callable[[Sequence[Daemon]], None] = lambda _: None,
) -> Flood:
    """One run in this database; `on_start` is called when the clock starts."""
    group = servers.name("flood")
    with (
        closing(database.connect()) as connection,
        speed_daemons(servers, database, loaded.topic.name, group, daemons) as running,
    ):
        watch = _Watch(connection, loaded, running)
        if daemons > 1:
            watch.wait_for_members(servers, group)
        else:
            watch.wait_until(lambda offsets: sum(offsets.values()) > 0)
        before, started, cores = sum(watch.offsets.values()), time.monotonic(), ProcessorTime(running, servers)
        on_start(running)
        watch.wait_until(lambda offsets: sum(offsets.values()) >= loaded.records)
        seconds = time.monotonic() - started
        _check_rows(connection, loaded)
        return Flood(loaded.records - before, seconds, tuple(watch.memory), cores.cores())


class _Watch:
    """Follows the stored offsets of a topic on one light connection, and the daemons' memory beside."""

    def __init__(self, connection: psycopg.Connection, loaded: LoadedTopic, daemons: list[Daemon]) -> None:
        self._connection = connection
        self._loaded = loaded
        self._daemons = daemons
        self.offsets: dict[int, int] = {}
        self.memory: list[float] = []
        self._next_memory = 0.0

    def wait_until(self, reached: Callable[[dict[int, int]], bool]) -> None:
        """Poll until `reached`. Raises RuntimeError where a daemon ends or nothing moves for long."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not reached(self.offsets):
            for daemon in self._daemons:
                daemon.check()
            time.sleep(_POLL_SECONDS)
            found = dict(self._connection.execute(_OFFSETS, [self._loaded.topic.log_id]).fetchall())
            if found != self.offsets:
                self.offsets, deadline = found, time.monotonic() + _PATIENCE_SECONDS
                self._sample_memory()
            if time.monotonic() > deadline:
                raise RuntimeError(f"no progress in {_PATIENCE_SECONDS:.0f} s beyond {self.offsets}.")

    def wait_for_members(self, servers: Servers, group: str) -> None:
        """Wait until the partitions are shared out among all daemons, and each has committed some of its own since."""
        shares: list[set[int]] = []
        admin = KafkaAdminClient(**servers.connection.client_settings("bench-group"))

        def shared_out(_: dict[int, int]) -> bool:
            shares[:] = _assignments(admin, group)
            return len(shares) == len(self._daemons) and all(shares)

        with closing(admin):
            self.wait_until(shared_out)
        since = dict(self.offsets)
        self.wait_until(
            lambda offsets: all(any(offsets.get(n, 0) > since.get(n, 0) for n in share) for share in shares)
        )

    def _sample_memory(self) -> None:
        if time.monotonic() >= self._next_memory:
            self.memory.append(max(daemon.memory() for daemon in self._daemons))
            self._next_memory = time.monotonic() + _MEMORY_SECONDS


def _assignments(admin: Any, group: str) -> list[set[int]]:
    """The partitions of each member of a settled group; nothing while it is being shared out."""
    try:
        described = admin.describe_groups([group])[group]
    except KafkaError:  # the coordinator is made with the first group of a broker
        return []
    if described["group_state"] != "Stable":
        return []
    shares = (member["member_assignment"]["assigned_partitions"] for member in described["members"])
    return [{number for topic in share for number in topic["partitions"]} for share in shares]


def _check_rows(connection: psycopg.Connection, loaded: LoadedTopic) -> None:
    """Every record of a loaded topic is a valid observation of its own: as many rows as records, or the run is void."""
    counted = connection.execute(
        "select count(*) from realtime_data r join log_partitions p on p.id = r.log_partition where p.log_id = %s",
        [loaded.topic.log_id],
    ).fetchone()
    if counted != (loaded.records,):
        raise RuntimeError(f"{loaded.records} records were consumed, and realtime_data holds {counted}.")
