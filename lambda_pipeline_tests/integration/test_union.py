"""The project's promise, attacked: random histories on a real PostgreSQL with the real code.

Whatever is late, repeated, poisonous, crashed, re-run, imported, expired or recreated: after every step each hour
serves exactly the distinct observations that a layer has taken in, each once, with the values stored first. The model
is the design's `union_model.py`, with values.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from lambda_pipeline.batch import raw_data
from lambda_pipeline.batch.days import DayTable, compute_days
from lambda_pipeline.batch.publish import hours_to_publish, prepare, swap
from lambda_pipeline.batch.raw_data import Chunk, import_observations, store_chunk
from lambda_pipeline.domain.log import DeadLetter, Incoming
from lambda_pipeline.domain.observation import Observation, ObservationMessage
from lambda_pipeline.errors import StaleOffsetsError
from lambda_pipeline.speed import commit
from lambda_pipeline.speed.commit import commit_micro_batch
from lambda_pipeline.storage.engine import session, transaction
from lambda_pipeline.stream.reader import LogBounds
from lambda_pipeline_tests.integration.observations import LAYER_TABLES, MALFORMED, ZONE, MemoryLog, observed, seen
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

FIRST_HOUR = datetime.fromisoformat("2025-06-02T16:00Z")  # 23:00 in Jakarta: the hours lie in two days
HOURS = [FIRST_HOUR + timedelta(hours=step) for step in range(3)]
DAYS = (date(2025, 6, 2), date(2025, 6, 4))
DAY_TABLES: tuple[DayTable, ...] = ("daily_aggregations", "peak_hours_analysis", "peak_hours")
PLACES = ["Krukut", "Cinere"]

Key = tuple[str, datetime]
Position = tuple[int, int]  # (log partition, offset)


@dataclass(frozen=True)
class Row:
    """An observation where a layer holds it."""

    position: Position
    hour: datetime
    day: date
    values: tuple[Any, ...]  # AQI, level, current speed, ratio


@dataclass
class Prepared:
    """A publish between its two transactions."""

    hours: list[datetime] = field(default_factory=list)
    rows: dict[Key, Row] = field(default_factory=dict)
    frontier: dict[int, int] = field(default_factory=dict)


class Model:
    """What the tables ought to hold. Every method is one transaction."""

    def __init__(self) -> None:
        self.offsets: dict[int, int] = {}
        self.frontier: dict[int, int] = {}
        self.coverage: dict[tuple[datetime, int], int] = {}
        self.realtime: dict[Key, Row] = {}
        self.raw: dict[Key, Row] = {}
        self.batch: dict[datetime, dict[Key, Row]] = {}
        self.dead: set[Position] = set()
        self.import_partition: int | None = None

    def is_published(self, key: Key) -> bool:
        row = self.raw.get(key)
        return row is not None and row.position[1] < self.coverage.get((row.hour, row.position[0]), 0)

    def commit(self, incoming: Iterable[Incoming], dead: Iterable[DeadLetter], offsets: dict[int, int]) -> int:
        gained = 0
        for key, row in _in_key_order(incoming):
            if key not in self.realtime and not self.is_published(key):
                self.realtime[key] = row
                gained += 1
        self.dead |= {letter[:2] for letter in dead}
        self.offsets |= offsets
        return gained

    def store(self, incoming: Iterable[Incoming], dead: Iterable[DeadLetter], frontier: dict[int, int]) -> int:
        stored = 0
        for key, row in _in_key_order(incoming):
            if key not in self.raw:
                self.raw[key] = row
                stored += 1
        self.dead |= {letter[:2] for letter in dead}
        self.frontier |= frontier
        return stored

    def rescue(self, partition: int, beginning: int) -> None:
        start = self.frontier.get(partition, 0)
        for key, row in self.realtime.items():
            if row.position[0] == partition and start <= row.position[1] < beginning:
                self.raw.setdefault(key, row)
        self.frontier[partition] = beginning

    def prepare(self, hours: list[datetime]) -> Prepared:
        return Prepared(hours, {key: row for key, row in self.raw.items() if row.hour in hours}, dict(self.frontier))

    def swap(self, prepared: Prepared, hour: datetime) -> int | None:
        covered = {partition: offset for (of, partition), offset in self.coverage.items() if of == hour}
        if any(offset > prepared.frontier.get(partition, 0) for partition, offset in covered.items()):
            return None
        self.coverage |= {(hour, partition): offset for partition, offset in prepared.frontier.items()}
        self.batch[hour] = {key: row for key, row in prepared.rows.items() if row.hour == hour}
        published = [key for key in self.realtime if key in self.batch[hour]]
        for key in published:
            del self.realtime[key]
        return len(published)

    def stale(self) -> set[datetime]:
        return {row.hour for key, row in self.raw.items() if not self.is_published(key)}

    def served(self) -> dict[Key, tuple[str, Row]]:
        batch = {key: ("batch", row) for rows in self.batch.values() for key, row in rows.items()}
        speed = {key: ("speed", row) for key, row in self.realtime.items()}
        assert not batch.keys() & speed.keys(), "an observation is in both layers"
        return batch | speed


def _in_key_order(incoming: Iterable[Incoming]) -> list[tuple[Key, Row]]:
    rows = [(_key(one.observation), _row(one)) for one in incoming]
    return sorted(rows, key=lambda pair: (pair[0], pair[1].position))


def _key(observation: Observation) -> Key:
    return observation.location, observation.timestamp


def _row(one: Incoming) -> Row:
    found = one.observation
    values = (found.aqi_value, found.traffic_level, found.current_speed, found.congestion_ratio)
    return Row((one.log_partition, one.log_offset), found.hour_start, found.city_date, values)


MESSAGES = st.builds(
    seen,
    minute=st.integers(0, 3),
    location=st.sampled_from(PLACES),
    hour=st.sampled_from(HOURS),
    aqi=st.none() | st.integers(0, 400),
    level=st.none() | st.integers(1, 5),
    speeds=st.none() | st.tuples(st.sampled_from([0, 12.3456, 49]), st.sampled_from([0, 33.3, 70])),
)
PARTITIONS = st.sampled_from([0, 1])
COUNTS = st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any)  # records of each partition
SESSIONS = st.sampled_from([0, 1])


class Union(RuleBasedStateMachine):
    """Producers, speed consumers, raw_data runs, imports and publishers, in any order."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        with transaction(self.database.owner) as connection:
            tables = ", ".join((*LAYER_TABLES, "log_partitions"))
            connection.execute(sa.text(f"truncate {tables} restart identity"))
        self.model = Model()
        self.logs = [MemoryLog(self.database, partitions=2)]
        self.keys_of: dict[Position, Key] = {}  # every valid record ever produced or imported
        self.believed: list[dict[int, int]] = [{}, {}]  # the offsets that each of two consumers goes on from
        self.chunks: list[Chunk] = []  # read by raw_data runs, and not stored yet
        self.prepared = [Prepared(), Prepared()]
        self.open = ExitStack()
        self.sessions = [self.open.enter_context(session(self.database.writer)) for _ in self.prepared]

    def teardown(self) -> None:
        self.open.close()

    # ------------------------------------------------------------ the log

    @rule(messages=st.lists(MESSAGES, min_size=1, max_size=4), partition=PARTITIONS)
    def produce(self, messages: list[ObservationMessage], partition: int) -> None:
        log = self.logs[-1]
        for message in messages:
            self.keys_of[log.partitions[partition].id, log.end(partition)] = (message.location, message.timestamp)
            log.append(message, partition=partition)

    @rule(messages=st.lists(MESSAGES, min_size=2, max_size=4), poison=st.booleans())
    def produce_in_both_partitions(self, messages: list[ObservationMessage], poison: bool) -> None:
        if poison:
            self.logs[-1].append(MALFORMED, partition=1)
        self.produce(messages, 0)
        self.produce([*messages[1:], messages[0]], 1)

    @precondition(lambda self: len(self.logs) < 3)
    @rule()
    def recreate_the_topic(self) -> None:
        self.logs.append(MemoryLog(self.database, partitions=2))

    # ------------------------------------------------------------ the speed layer

    @rule(consumer=SESSIONS, counts=COUNTS, back=st.sampled_from([1, 1, 1, 2]))
    def consume(self, consumer: int, counts: tuple[int, int], back: int) -> None:
        """One of two consumers commits; it is a zombie where the other one went on."""
        log = self.logs[-min(back, len(self.logs))]
        believed = self.believed[consumer]
        ranges = {
            number: (start, min(start + count, log.end(number)))
            for number, count in enumerate(counts)
            if (start := believed.get(log.partitions[number].id, 0)) < log.end(number) and count
        }
        batch = log.micro_batch(ranges)
        expected = {move.partition.id: move.expected for move in batch.moves}
        if any(self.model.offsets.get(partition, 0) != offset for partition, offset in expected.items()):
            with pytest.raises(StaleOffsetsError):
                commit_micro_batch(self.database.writer, batch, ZONE)
            self.believed[consumer] = dict(self.model.offsets)
            return
        moves = {move.partition.id: move.next for move in batch.moves}
        gained = commit_micro_batch(self.database.writer, batch, ZONE)
        assert gained == self.model.commit(batch.observations, batch.dead_letters, moves)
        believed |= moves

    @rule(partition=PARTITIONS)
    def die_before_the_commit(self, partition: int) -> None:
        log = self.logs[-1]
        start = self.model.offsets.get(log.partitions[partition].id, 0)
        batch = log.micro_batch({partition: (start, log.end(partition))})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(commit, "insert_dead_letters", _die)
            with pytest.raises(RuntimeError, match="dies"):
                commit_micro_batch(self.database.writer, batch, ZONE)

    # ------------------------------------------------------------ raw_data

    @rule(counts=COUNTS, back=st.sampled_from([1, 1, 1, 2]), on=st.booleans())
    def read_a_chunk(self, counts: tuple[int, int], back: int, on: bool) -> None:
        """A run reads from the frontiers, or on from what it read before, whatever became of that."""
        log = self.logs[-min(back, len(self.logs))]
        starts = {number: self.model.frontier.get(log.partitions[number].id, 0) for number in (0, 1)}
        if on and self.chunks:
            ends = {partition: end for partition, (_, end) in self.chunks[-1].moves.items()}
            starts = {number: ends.get(log.partitions[number].id, start) for number, start in starts.items()}
        ranges = {number: (starts[number], min(starts[number] + counts[number], log.end(number))) for number in (0, 1)}
        ranges = {number: (start, end) for number, (start, end) in ranges.items() if start < end}
        if ranges:
            self.chunks.append(log.chunk(ranges))

    @precondition(lambda self: self.chunks)
    @rule(data=st.data())
    def store_a_chunk(self, data: st.DataObject) -> None:
        """A run stores what it read, maybe long after and maybe after another run did."""
        self._store(self.chunks.pop(data.draw(st.integers(0, len(self.chunks) - 1))))

    @rule(counts=COUNTS)
    def advance(self, counts: tuple[int, int]) -> None:
        pending, self.chunks = self.chunks, []
        self.read_a_chunk(counts, 1, False)
        for chunk in self.chunks:
            self._store(chunk)
        self.chunks = pending

    @rule(messages=st.lists(MESSAGES, min_size=4, max_size=6), counts=COUNTS, overtaking=COUNTS)
    def overtake_a_run(
        self, messages: list[ObservationMessage], counts: tuple[int, int], overtaking: tuple[int, int]
    ) -> None:
        """A run reads two chunks; before it stores the first, another one stores some of it and dies."""
        self.produce_in_both_partitions(messages, False)
        pending, self.chunks = self.chunks, []
        self.read_a_chunk(counts, 1, False)
        self.read_a_chunk(counts, 1, True)
        self.advance(overtaking)
        for chunk in self.chunks:
            self._store(chunk)
        self.chunks = pending

    def _store(self, chunk: Chunk) -> None:
        stored = store_chunk(self.database.writer, chunk)
        if any(self.model.frontier.get(partition, 0) != start for partition, (start, _) in chunk.moves.items()):
            assert stored is None
            return
        moves = {partition: end for partition, (_, end) in chunk.moves.items()}
        assert stored == self.model.store(chunk.observations, chunk.dead_letters, moves)

    @rule(data=st.data(), number=PARTITIONS)
    def retention_takes_what_was_consumed(self, data: st.DataObject, number: int) -> None:
        self._consume_the_rest()
        partition = self.logs[-1].partitions[number]
        frontier, consumed = (where.get(partition.id, 0) for where in (self.model.frontier, self.model.offsets))
        if frontier < consumed:
            bounds = LogBounds(data.draw(st.integers(frontier + 1, consumed)), self.logs[-1].end(number))
            raw_data._bridge_retention(self.database.writer, partition, bounds, accept_loss=False)
            self.model.rescue(partition.id, bounds.beginning)

    @rule(messages=st.lists(MESSAGES, min_size=1, max_size=3))
    def import_a_file(self, messages: list[ObservationMessage]) -> None:
        observations = observed(self.database, *messages)
        stored = import_observations(self.database.writer, observations, "import:test")
        if self.model.import_partition is None:
            found = self.database.scalar("select id from log_partitions where topic = 'import'")
            assert isinstance(found, int)
            self.model.import_partition = found
        partition = self.model.import_partition
        first = self.model.frontier.get(partition, 0)
        incoming = [Incoming(one, "import:test", partition, first + i) for i, one in enumerate(observations)]
        self.keys_of |= {(partition, one.log_offset): _key(one.observation) for one in incoming}
        assert stored == self.model.store(incoming, (), {partition: first + len(incoming)})

    # ------------------------------------------------------------ publishing

    @rule(number=SESSIONS, hours=st.lists(st.sampled_from(HOURS), min_size=1, unique=True))
    def prepare_hours(self, number: int, hours: list[datetime]) -> None:
        prepare(self.sessions[number], hours, ZONE)
        self.prepared[number] = self.model.prepare(hours)

    @rule(number=SESSIONS, data=st.data())
    def swap_an_hour(self, number: int, data: st.DataObject) -> None:
        """Also again, and also long after: it stays prepared."""
        if self.prepared[number].hours:
            hour = data.draw(st.sampled_from(self.prepared[number].hours))
            moved = swap(self.sessions[number], hour, ZONE, "test")
            assert moved == self.model.swap(self.prepared[number], hour)

    @rule(number=SESSIONS, hour=st.sampled_from(HOURS))
    def publish_an_hour(self, number: int, hour: datetime) -> None:
        self.prepare_hours(number, [hour])
        assert swap(self.sessions[number], hour, ZONE, "test") == self.model.swap(self.prepared[number], hour)

    @rule(
        number=SESSIONS,
        messages=st.lists(MESSAGES, min_size=1, max_size=3),
        partition=PARTITIONS,
        between=st.lists(st.sampled_from(["consume", "store", "import", "publish"]), min_size=1, max_size=4),
    )
    def publish_while_more_comes(
        self, number: int, messages: list[ObservationMessage], partition: int, between: list[str]
    ) -> None:
        """Between prepare and swap, records of the hour are produced and reach the layers, or it is overtaken."""
        hour = messages[0].timestamp.replace(minute=0)
        self.prepare_hours(number, [hour])
        self.produce(messages, partition)
        steps = {
            "consume": self._consume_the_rest,
            "store": self._store_the_rest,
            "import": lambda: self.import_a_file(messages[::-1]),
            "publish": lambda: self.publish_an_hour(1 - number, hour),
        }
        for step in between:
            steps[step]()
        assert swap(self.sessions[number], hour, ZONE, "test") == self.model.swap(self.prepared[number], hour)

    @rule()
    def compute_the_days(self) -> None:
        for table in DAY_TABLES:
            compute_days(self.database.writer, table, *DAYS, "test")

    @rule()
    def catch_up(self) -> None:
        """Everything of the present topic is consumed, stored, published and computed."""
        self._consume_the_rest()
        self._store_the_rest()
        self.prepare_hours(0, HOURS)
        for hour in HOURS:
            assert swap(self.sessions[0], hour, ZONE, "test") == self.model.swap(self.prepared[0], hour)
        self.compute_the_days()
        present = {partition.id for partition in self.logs[-1].partitions.values()}
        assert not [row for row in self.model.realtime.values() if row.position[0] in present]
        assert not self.model.stale()

    def _consume_the_rest(self) -> None:
        log = self.logs[-1]
        ranges = {n: (self.model.offsets.get(p.id, 0), log.end(n)) for n, p in log.partitions.items()}
        batch = log.micro_batch(ranges)
        gained = commit_micro_batch(self.database.writer, batch, ZONE)
        ends = {move.partition.id: move.next for move in batch.moves}
        assert gained == self.model.commit(batch.observations, batch.dead_letters, ends)

    def _store_the_rest(self) -> None:
        log = self.logs[-1]
        ranges = {n: (self.model.frontier.get(p.id, 0), log.end(n)) for n, p in log.partitions.items()}
        self._store(log.chunk(ranges))

    # ------------------------------------------------------------ after every step

    @invariant()
    def each_observation_is_served_exactly_once(self) -> None:
        """The served set equals what was taken in, by the positions that the database says were taken in."""
        with transaction(self.database.reader, "REPEATABLE READ", read_only=True) as connection:
            offsets = dict(_all(connection, "select log_partition, next_offset from stream_offsets"))
            coverage = {row[:2]: row[2] for row in _all(connection, "select * from batch_coverage")}
            observations = _all(connection, "select location, timestamp from served_observations")
            below = _all(
                connection,
                "select r.location, r.timestamp from realtime_data r join batch_coverage c "
                "on c.hour_start = r.hour_start and c.log_partition = r.log_partition and r.log_offset < c.next_offset",
            )
        taken_in = {
            key
            for (partition, offset), key in self.keys_of.items()
            if offset < offsets.get(partition, 0) or offset < coverage.get((_hour(key), partition), 0)
        }
        assert not below, "a covered row is left in the speed layer"
        assert len(observations) == len(set(observations)), "an observation is served twice"
        assert set(observations) == taken_in

    @invariant()
    def the_tables_hold_what_the_model_says(self) -> None:
        with transaction(self.database.reader, "REPEATABLE READ", read_only=True) as connection:
            found = {
                "realtime": _rows(connection, "realtime_data"),
                "raw": _rows(connection, "raw_data"),
                "offsets": dict(_all(connection, "select log_partition, next_offset from stream_offsets")),
                "frontier": dict(_all(connection, "select log_partition, next_offset from raw_frontier")),
                "coverage": {row[:2]: row[2] for row in _all(connection, "select * from batch_coverage")},
                "dead": set(_all(connection, "select log_partition, log_offset from dead_letters")),
            }
        assert found == {name: getattr(self.model, name) for name in found}
        assert {hour.hour_start for hour in hours_to_publish(self.database.reader, *DAYS)} == self.model.stale()

    @invariant()
    def hours_and_days_add_up(self) -> None:
        """Layer, counts, sums, minima and maxima per hour and location; per hour; per day and location."""
        served = self.model.served()
        by_hour = _grouped(served, lambda key, row: (row.hour, key[0]))
        by_city_hour = _grouped(served, lambda key, row: (row.hour,))
        by_day = _grouped(served, lambda key, row: (row.day, key[0]))
        speeds = "speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count"
        measures = "min_aqi, max_aqi, min_traffic, max_traffic, data_points_count, aqi_count, traffic_count"
        with transaction(self.database.reader, "REPEATABLE READ", read_only=True) as connection:
            hourly = _all(
                connection,
                f"select hour_start, location, layer, aqi_sum, traffic_sum, {measures}, {speeds} from served_hourly",
            )
            city = _all(connection, f"select hour_start, layer, avg_aqi, {measures} from served_city_hourly")
            daily = _all(connection, f"select date, location, avg_aqi, {measures} from served_daily")
        assert sorted(hourly) == sorted(
            (*group, _layer(rows), _sum(rows, 0), _sum(rows, 1), *_measures(rows), *_speeds(rows))
            for group, rows in by_hour.items()
        )
        assert sorted(city) == sorted(
            (*group, _layer(rows), _average(rows), *_measures(rows)) for group, rows in by_city_hour.items()
        )
        assert sorted(daily) == sorted((*group, _average(rows), *_measures(rows)) for group, rows in by_day.items())


def _die(*_: object) -> None:
    raise RuntimeError("the process dies here")


def _hour(key: Key) -> datetime:
    return key[1].replace(minute=0)  # Jakarta's offset is a whole number of hours


def _all(connection: sa.Connection, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(sa.text(query))]


def _rows(connection: sa.Connection, table: str) -> dict[Key, Row]:
    columns = "aqi_value, traffic_level, current_speed, congestion_ratio"
    query = f"select location, timestamp, log_partition, log_offset, hour_start, city_date, {columns} from {table}"
    return {row[:2]: Row(row[2:4], row[4], row[5], row[6:]) for row in _all(connection, query)}


Group = list[tuple[str, Row]]


def _grouped(served: dict[Key, tuple[str, Row]], group: Any) -> dict[tuple[Any, ...], Group]:
    found: dict[tuple[Any, ...], Group] = {}
    for key, (layer, row) in served.items():
        found.setdefault(group(key, row), []).append((layer, row))
    return found


def _layer(rows: Group) -> str:
    layers = {layer for layer, _ in rows}
    return "both" if len(layers) == 2 else layers.pop()


def _known(rows: Group, measure: int) -> list[Any]:
    return [row.values[measure] for _, row in rows if row.values[measure] is not None]


def _sum(rows: Group, measure: int) -> int:
    return sum(_known(rows, measure))


def _average(rows: Group) -> float | None:
    known = _known(rows, 0)
    return sum(known) / len(known) if known else None


def _ends(rows: Group, measure: int) -> tuple[Any, Any]:
    known = _known(rows, measure)
    return min(known, default=None), max(known, default=None)


def _measures(rows: Group) -> tuple[Any, ...]:
    return (*_ends(rows, 0), *_ends(rows, 1), len(rows), len(_known(rows, 0)), len(_known(rows, 1)))


def _speeds(rows: Group) -> tuple[Any, ...]:
    speeds = sum(round(speed * 1000) for speed in _known(rows, 2))
    ratios = sum(round(ratio * 1e9) for ratio in _known(rows, 3))
    return speeds, len(_known(rows, 2)), *_ends(rows, 2), ratios, len(_known(rows, 3))


@pytest.mark.timeout(600)  # where it fails, hypothesis looks for the shortest such history for up to five minutes
def test_every_observation_is_served_exactly_once_whatever_happens(database: Database) -> None:
    machine = type("UnionOnThisDatabase", (Union,), {"database": database})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=40, stateful_step_count=40, suppress_health_check=list(HealthCheck)),
    )
