"""What is soaked: the stack's parts as real processes, a load, readers, and the comparison of served with produced."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from lambda_pipeline.domain.catalogue import City, load_city
from lambda_pipeline.domain.log import Record
from lambda_pipeline.domain.observation import MAX_FUTURE
from lambda_pipeline.errors import DatabaseUnavailableError
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.local.simulator import SimulatorServer, serve
from lambda_pipeline.settings import Settings
from lambda_pipeline.shipped import shipped_path
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogReader
from lambda_pipeline_tests.faults.jumping_clock import VARIABLE as CLOCK
from lambda_pipeline_tests.faults.load import CountedLoad, Expected, Key, Position, Values
from lambda_pipeline_tests.faults.misbehaving import MisbehavingApi
from lambda_pipeline_tests.faults.polling import poll_from, spool_of, waiting
from lambda_pipeline_tests.faults.readers import Helpers, read_through_outages
from lambda_pipeline_tests.faults.stage import (
    SPEED,
    Platform,
    Reports,
    Servers,
    assert_served,
    closing,
    prepare_platform,
)
from lambda_pipeline_tests.processes import Daemon, wait_for

_RATE = 200.0  # records a second of the load, beside ingest's ten
_READERS = 2
_RECOVERY = 120.0  # seconds; longer than any back-off
_JUMPING = "lambda_pipeline_tests.faults.jumping_clock"


@dataclass
class Soak:
    """Everything that runs. `durable` are polls that were seen in ingest's spool: they must reach the log."""

    platform: Platform
    servers: Servers
    apis: dict[str, MisbehavingApi]
    load: CountedLoad
    readers: Helpers
    rng: random.Random
    clock: Path
    speeds: list[Daemon] = field(default_factory=list)
    durable: set[bytes] = field(default_factory=set)
    batches: Counter[str] = field(default_factory=Counter)
    _ingest: Daemon | None = None
    _batch: Daemon | None = None

    def start(self) -> None:
        """Daemons, readers and load, until something is served."""
        for _ in range(2):
            self.start_speed()
        self.start_ingest()
        self.platform.progresses(50)
        for _ in range(_READERS):
            self.readers.start(read_through_outages, self.platform.url, self.readers.produced)
        self.load.__enter__()

    def start_speed(self) -> None:
        """One more."""
        self.speeds.append(self.platform.start(SPEED))

    def start_ingest(self) -> None:
        """The one."""
        self._ingest = self.platform.start("ingest", module=_JUMPING)

    @property
    def ingest(self) -> Daemon:
        """The one that runs."""
        assert self._ingest is not None
        return self._ingest

    def note_durable(self) -> None:
        """What is in the spool now must be served in the end."""
        self.durable |= set(waiting(spool_of(self.platform)))

    def batch(self) -> Daemon:
        """A run that publishes what there is: the one under way, or a new one."""
        if self._batch is None or not self._batch.alive:
            self.settle_batch()
            self._batch = self.platform.start(*_recent_days())
        return self._batch

    def kill_batch(self) -> None:
        """Kill the run under way, if it still is."""
        if self.batch_runs and self._batch is not None:
            self._batch.kill()
            self._batch = None
            self.batches["killed"] += 1

    def settle_batch(self) -> None:
        """Count how the last run ended by itself; it may fail where a server is away."""
        if self._batch is not None and not self._batch.alive:
            self.batches["failed" if self._batch.wait(1) else "succeeded"] += 1
            self._batch = None

    def check(self) -> None:
        """Nobody has ended by itself, and no reader has seen what must not be."""
        for daemon in (*self.speeds, self.ingest):
            assert daemon.alive, f"{daemon.name} ended by itself. Its log:\n{daemon.log[-3000:]}"
        if self.readers.has_failed():
            self.readers.stop()  # says which and why

    def recovers(self) -> float:
        """Wait until the speed layer goes on, and serves what ingest polled after now; returns the seconds."""
        now, before = datetime.now(UTC), self._consumed()
        query = (
            "select exists (select from served_observations "
            "where timestamp between :now and :now + interval '1 hour') as is_there"
        )

        def is_well() -> bool:
            self.check()
            try:
                return self._consumed() > before and bool(self.platform.rows(query, now=now)[0].is_there)
            except DatabaseUnavailableError:
                return False

        return wait_for(is_well, "everything goes on after the faults", _RECOVERY)

    def _consumed(self) -> int:
        with suppress(DatabaseUnavailableError):
            return self.platform.consumed()
        return 0

    def finish(self) -> dict[str, object]:
        """Bring all back, drain, publish, compare served with produced: what there was. Raises what is wrong."""
        self.load.stop()
        for api in self.apis.values():
            api.misbehave("answers 500")  # so that nothing new is polled
        wait_for(lambda: not waiting(spool_of(self.platform)), "ingest's spool is sent", _RECOVERY)
        assert self.ingest.stop(15) == 0
        if self._batch is not None:
            wait_for(lambda: not self.batch_runs, "the last run ends", 300)
            self.settle_batch()
        drained = self.platform.catches_up(300)
        expected, polls = self.expected()
        assert_served(self.platform, expected)
        assert self.durable <= polls.keys(), "what was durable in ingest's spool is missing in the log"
        self.platform.run(*_recent_days(), timeout=600)
        assert_served(self.platform, expected)
        left = self.platform.rows("select count(*) as n from realtime_data")[0].n
        assert left == 0, f"{left} observations are left in the speed layer after everything was published"
        seen = self.readers.stop()
        assert all(daemon.stop(15) == 0 for daemon in self.speeds)
        return {
            "records of the load": self.load.sent,
            "polls in the log": polls.total(),
            "of them sent twice": polls.total() - len(polls),
            "observations served": len(expected.observations),
            "dead letters": len(expected.dead_letters),
            "hours published": self.platform.rows("select count(*) as n from published_hours")[0].n,
            "batch runs": ", ".join(f"{number} {how}" for how, number in sorted(self.batches.items())),
            "snapshots of readers": sum(one.snapshots for one in seen),
            "drained in": f"{drained:.1f} s",
        }

    @property
    def batch_runs(self) -> bool:
        """Whether a run is under way."""
        return self._batch is not None and self._batch.alive

    def expected(self) -> tuple[Expected, Counter[bytes]]:
        """What the log holds, read anew: the load's records by what the load knows of them, and what ingest polled."""
        observations: dict[Key, Values] = {}
        dead: dict[Position, bytes | None] = {}
        polls: Counter[bytes] = Counter()
        for record in self._log():
            value = record.value
            found = self.load.meaning.get(value) if value is not None else None
            if found is None and value is not None and (polled := _polled(record)) is not None:
                polls[value] += 1
                key, values, is_future = polled
                found = None if is_future else (key, values)
            if found is None:
                dead[record.partition, record.offset] = value
            else:
                observations.setdefault(*found)
        return Expected(observations, dead), polls

    def _log(self) -> Iterable[Record]:
        with LogReader(self.platform.connection, self.platform.topic) as reader:
            bounds = reader.bounds(tuple(range(4)))
            ranges = {number: (found.beginning, found.end) for number, found in bounds.items()}
            for batch in reader.read(ranges, 50_000):
                for records in batch.values():
                    yield from records


def _recent_days() -> list[str]:
    """The command that publishes all days that the load and a jumping clock may have come to; needs no server."""
    today = datetime.now(UTC).date()
    return ["backfill", "--from", str(today - timedelta(days=2)), "--to", str(today + timedelta(days=2))]


def _polled(record: Record) -> tuple[Key, Values, bool] | None:
    """Key and values of ingest's own message, and whether it came from the future; None for any other record."""
    try:
        message = msgspec.json.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(message, dict) or "aqi_measured_at" not in message:  # which the load's never have
        return None
    moment = datetime.fromisoformat(message["timestamp"])
    appended = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    values = Values(message["aqi_value"], message["traffic_level"])
    return (message["location"], moment), values, moment > appended + MAX_FUTURE


@contextmanager
def soak_stage(folder: Path, seed: int) -> Iterator[Soak]:
    """Servers, simulated APIs and a platform for as long as a block runs."""
    city = load_city(shipped_path("cities", "jakarta.toml"))
    home = Home(folder / "servers")
    cache = Settings(_env_file=None).cache  # type: ignore[call-arg]
    servers = Servers(EmbeddedPostgres(home), EmbeddedKafka(home, cache))
    readers = Helpers()
    simulator = serve(city, seed)
    # Each good answer may be half of an observation that nobody else counts.
    apis = {source: MisbehavingApi(simulator, readers.produced.add) for source in ("tomtom", "aqicn")}
    try:
        servers.heal()
        with closing(_platform(servers, city, folder)) as platform:
            platform.environment |= poll_from(apis["tomtom"].url, apis["aqicn"].url)
            platform.environment[CLOCK] = str(folder / "clock")
            load = CountedLoad(
                platform.connection, platform.topic, platform.locations, seed, _RATE, produced=readers.produced
            )
            try:
                yield Soak(platform, servers, apis, load, readers, random.Random(seed), folder / "clock")
            finally:
                readers.kill()
    finally:
        _close(apis, simulator)
        servers.kafka.stop(force=True)
        servers.postgres.stop(force=True)


def _platform(servers: Servers, city: City, folder: Path) -> Platform:
    connection = KafkaConnection(servers.kafka.bootstrap_servers)
    names = ("soak", "soak_dagster")
    return prepare_platform(servers.postgres, connection, city, names, "soak", folder, Reports())


def _close(apis: dict[str, MisbehavingApi], simulator: SimulatorServer) -> None:
    for api in apis.values():
        api.close()
    simulator.close()


LONGEST_JUMP = timedelta(hours=5)
