"""Producers, speed consumers, raw_data runs, imports and publishers, in any order and at each other's moments."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambda_pipeline.batch import raw_data
from lambda_pipeline.batch.days import DayTable
from lambda_pipeline.batch.publish import hours_to_publish, prepare, swap
from lambda_pipeline.batch.raw_store import Chunk
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.errors import DatabaseUnavailableError
from lambda_pipeline.storage.engine import Timeouts, is_conflict, make_engine, session, transaction
from lambda_pipeline.storage.log_partitions import import_partition
from lambda_pipeline.stream.reader import LogBounds
from lambda_pipeline_tests.integration.observations import LAYER_TABLES, MALFORMED, ZONE, MemoryLog, observed, seen
from lambda_pipeline_tests.integration.union.model import STALE, Key, Model, Position, Prepared, key_of
from lambda_pipeline_tests.integration.union.moments import DiedError, Moments, Way
from lambda_pipeline_tests.integration.union.operations import (
    Operation,
    apply,
    apply_with,
    computing,
    consuming,
    importing,
    pruning,
    publishing,
    storing,
)
from lambda_pipeline_tests.integration.union.reading import everything, found, wanted
from lambda_pipeline_tests.servers import Database

HOURS = [  # two neighbours in two city days, and one days before, at a peak and in another month
    datetime.fromisoformat(text) for text in ("2025-06-02T16:00Z", "2025-06-02T17:00Z", "2025-05-31T23:00Z")
]
DAYS = (date(2025, 6, 1), date(2025, 6, 4))
DAY_TABLES: tuple[DayTable, ...] = ("daily_aggregations", "peak_hours_analysis", "peak_hours")
PLACES = ["Krukut", "Cinere"]
MOST_PARTITIONS = 3

MESSAGES = st.builds(
    seen,
    minute=st.integers(0, 7),
    location=st.sampled_from(PLACES),
    hour=st.sampled_from(HOURS),
    aqi=st.none() | st.integers(0, 400),
    level=st.none() | st.integers(1, 5),
    speeds=st.none() | st.tuples(st.sampled_from([0, 12.3456, 49]), st.sampled_from([0, 33.3, 70])),
)
FEW_MESSAGES = st.lists(MESSAGES, min_size=1, max_size=4)
PARTITIONS = st.integers(0, MOST_PARTITIONS - 1)  # one that a log has not is its first
COUNTS = st.tuples(*[st.integers(0, 3)] * MOST_PARTITIONS).filter(any)  # records of each partition
LOGS = st.sampled_from([1, 1, 1, 2])  # the present topic, or the one before
SESSIONS = st.sampled_from([0, 1])
CONSUMERS = st.sampled_from([0, 1, 2])
KINDS = st.sampled_from(["consume", "store", "import", "publish", "compute"])
# About as many as an operation has: of a swap there are more than of a commit.
MOMENTS = {"consume": 6, "store": 7, "import": 9, "publish": 24, "compute": 4}
WAYS: st.SearchStrategy[Way] = st.sampled_from(["raises", "vanishes", "within a statement", "after the commit"])


@dataclass(frozen=True)
class Scene:
    """What was produced, and what became of it, before the transaction to which something happens at a moment."""

    messages: list[ObservationMessage]
    partition: int
    before: list[str]
    moment: int


SCENES = st.builds(Scene, FEW_MESSAGES, PARTITIONS, st.lists(KINDS, max_size=2), st.integers(0, 23))


class Union(RuleBasedStateMachine):
    """The platform beside the model of it."""

    database: Database
    moments: Moments  # of the database's writer

    def __init__(self) -> None:
        super().__init__()
        with transaction(self.database.owner) as connection:
            tables = ", ".join((*LAYER_TABLES, "log_partitions"))
            connection.execute(sa.text(f"truncate {tables} restart identity"))
            self.model = Model(import_partition(connection).id)
        self.logs = [MemoryLog(self.database, partitions=2)]
        self.keys_of: dict[Position, Key] = {}  # every valid record ever produced or imported
        self.believed: list[dict[int, int]] = [{}, {}, {}]  # the offsets that each of three consumers goes on from
        self.chunks: list[Chunk] = []  # read by raw_data runs, and not stored yet
        self.prepared = [Prepared(), Prepared()]
        self.open = ExitStack()
        self.sessions = [self.open.enter_context(session(self.database.writer)) for _ in self.prepared]
        impatient = Timeouts(lock=0.05)
        self.others = make_engine(self.database.url(), "others", impatient)
        self.open.callback(self.others.dispose)

    def teardown(self) -> None:
        self.open.close()

    # ------------------------------------------------------------ the log

    @rule(messages=FEW_MESSAGES, partition=PARTITIONS)
    def produce(self, messages: list[ObservationMessage], partition: int) -> None:
        log = self.logs[-1]
        number = partition if partition in log.partitions else 0
        for message in messages:
            self.keys_of[log.partitions[number].id, log.end(number)] = (message.location, message.timestamp)
            log.append(message, partition=number)

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

    @precondition(lambda self: len(self.logs[-1].partitions) < MOST_PARTITIONS)
    @rule()
    def add_a_partition(self) -> None:
        self.logs[-1].add_partition()

    # ------------------------------------------------------------ the speed layer

    @rule(consumer=CONSUMERS, counts=COUNTS, back=LOGS)
    def consume(self, consumer: int, counts: tuple[int, ...], back: int) -> None:
        """One of three consumers commits; it is a zombie where another one went on."""
        log = self.logs[-min(back, len(self.logs))]
        believed = self.believed[consumer]
        ranges = {
            number: (start, min(start + counts[number], log.end(number)))
            for number, partition in log.partitions.items()
            if (start := believed.get(partition.id, 0)) < log.end(number) and counts[number]
        }
        batch = log.micro_batch(ranges)
        if self._do(consuming(batch)) == STALE:
            self.believed[consumer] = dict(self.model.offsets)
        else:
            believed |= {move.partition.id: move.next for move in batch.moves}

    # ------------------------------------------------------------ raw_data

    @rule(counts=COUNTS, back=LOGS, on=st.booleans())
    def read_a_chunk(self, counts: tuple[int, ...], back: int, on: bool) -> None:
        """A run reads from the frontiers, or on from what it read before, whatever became of that."""
        log = self.logs[-min(back, len(self.logs))]
        starts = {number: self.model.frontier.get(partition.id, 0) for number, partition in log.partitions.items()}
        if on and self.chunks:
            ends = {partition: end for partition, (_, end) in self.chunks[-1].moves.items()}
            starts = {number: ends.get(log.partitions[number].id, start) for number, start in starts.items()}
        ranges = {number: (start, min(start + counts[number], log.end(number))) for number, start in starts.items()}
        ranges = {number: (start, end) for number, (start, end) in ranges.items() if start < end}
        if ranges:
            self.chunks.append(log.chunk(ranges))

    @precondition(lambda self: self.chunks)
    @rule(data=st.data())
    def store_a_chunk(self, data: st.DataObject) -> None:
        """A run stores what it read, maybe long after and maybe after another run did."""
        self._do(storing(self.chunks.pop(data.draw(st.integers(0, len(self.chunks) - 1)))))

    @rule(counts=COUNTS)
    def advance(self, counts: tuple[int, ...]) -> None:
        pending, self.chunks = self.chunks, []
        self.read_a_chunk(counts, 1, False)
        for chunk in self.chunks:
            self._do(storing(chunk))
        self.chunks = pending

    @rule(messages=st.lists(MESSAGES, min_size=4, max_size=6), counts=COUNTS, overtaking=COUNTS)
    def overtake_a_run(
        self, messages: list[ObservationMessage], counts: tuple[int, ...], overtaking: tuple[int, ...]
    ) -> None:
        """A run reads two chunks; before it stores the first, another one stores some of it and dies."""
        self.produce_in_both_partitions(messages, False)
        pending, self.chunks = self.chunks, []
        self.read_a_chunk(counts, 1, False)
        self.read_a_chunk(counts, 1, True)
        self.advance(overtaking)
        for chunk in self.chunks:
            self._do(storing(chunk))
        self.chunks = pending

    @rule(data=st.data(), number=SESSIONS)
    def retention_takes_what_was_consumed(self, data: st.DataObject, number: int) -> None:
        self._do(self._operation("consume"))
        partition = self.logs[-1].partitions[number]
        frontier, consumed = (where.get(partition.id, 0) for where in (self.model.frontier, self.model.offsets))
        if frontier < consumed:
            bounds = LogBounds(data.draw(st.integers(frontier + 1, consumed)), self.logs[-1].end(number))
            raw_data._bridge_retention(self.database.writer, partition, bounds, accept_loss=False)
            self.model.rescue(partition.id, bounds.beginning)

    @rule(messages=FEW_MESSAGES)
    def import_a_file(self, messages: list[ObservationMessage]) -> None:
        self._do(self._operation("import", messages))

    # ------------------------------------------------------------ publishing

    @rule(number=SESSIONS, hours=st.lists(st.sampled_from(HOURS), min_size=1, unique=True))
    def prepare_hours(self, number: int, hours: list[datetime]) -> None:
        prepare(self.sessions[number], hours, ZONE)
        self.prepared[number] = self.model.prepare(hours)

    @rule(number=SESSIONS, data=st.data())
    def swap_an_hour(self, number: int, data: st.DataObject) -> None:
        """Also again, and also long after: it stays prepared."""
        if self.prepared[number].hours:
            self._swap(number, data.draw(st.sampled_from(self.prepared[number].hours)))

    @rule(
        number=SESSIONS,
        messages=FEW_MESSAGES,
        partition=PARTITIONS,
        is_known=st.booleans(),
        between=st.lists(KINDS, min_size=1, max_size=4),
    )
    def publish_while_more_comes(
        self, number: int, messages: list[ObservationMessage], partition: int, is_known: bool, between: list[str]
    ) -> None:
        """Between prepare and swap, records of the hour reach the layers, maybe known from another partition."""
        hour = messages[0].timestamp.replace(minute=0)
        if is_known:
            self.produce(messages, 0 if partition else 1)
            self._do(self._operation("store"))
        self.prepare_hours(number, [hour])
        self.produce(messages, partition)
        for kind in between:
            self._do(self._operation(kind, messages))
        self._swap(number, hour)

    @rule(table=st.sampled_from(DAY_TABLES))
    def compute_the_days(self, table: DayTable) -> None:
        self._do(computing(table, DAYS))

    @rule()
    def prune_dead_letters(self) -> None:
        self._do(pruning())

    @rule()
    def catch_up(self) -> None:
        """Everything of the present topic is consumed, stored, published and computed."""
        self._do(self._operation("consume"))
        self._do(self._operation("store"))
        self.prepare_hours(0, HOURS)
        for hour in HOURS:
            self._swap(0, hour)
        for table in DAY_TABLES:
            self.compute_the_days(table)
        present = {partition.id for partition in self.logs[-1].partitions.values()}
        assert not [row for row in self.model.realtime.values() if row.position[0] in present]
        assert not self.model.stale()

    def _swap(self, number: int, hour: datetime) -> None:
        moved = swap(self.sessions[number], hour, ZONE, "test")
        assert moved == self.model.swap(self.prepared[number], hour)

    # ------------------------------------------------------------ moments

    @rule(kind=KINDS, scene=SCENES, way=WAYS)
    def die(self, kind: str, scene: Scene, way: Way) -> None:
        """Between two statements, in the middle of one, or when it has committed and could not say so."""
        self._play(scene)
        operation = self._operation(kind, scene.messages)
        try:
            with self.moments.dying(way, scene.moment % MOMENTS[kind]):
                result = operation.run(self.database.writer)
        except (DiedError, DatabaseUnavailableError):
            if self.moments.committed == len(operation.transactions):
                apply(operation, self.model)
        else:
            assert result == apply(operation, self.model)

    @rule(scene=SCENES, way=WAYS)
    def die_while_committing(self, scene: Scene, way: Way) -> None:
        self.die("consume", scene, way)

    @rule(scene=SCENES, way=WAYS)
    def die_while_publishing(self, scene: Scene, way: Way) -> None:
        self.die("publish", scene, way)

    @rule(kind=KINDS, scene=SCENES, other=KINDS)
    def come_between(self, kind: str, scene: Scene, other: str) -> None:
        """Between two statements of a transaction somebody does something else, unless a lock is in the way.

        What comes of it must be what comes of the two after one another, in one order or the other.
        """
        if {kind, other} in ({"import"}, {"import", "store"}, {"compute"}):  # they take turns, and try for seconds
            other = "store" if kind == "store" else "publish"
        self._play(scene)
        first, second = self._operation(kind, scene.messages), self._operation(other, scene.messages[::-1])
        others: list[Any] = []
        with self.moments.at(scene.moment % MOMENTS[kind], lambda _: self._try(second, others)):
            result = first.run(self.database.writer)
        self._settle(first, second if others else None, (result, others[0] if others else None))

    @rule(scene=SCENES, other=KINDS)
    def come_between_a_commit(self, scene: Scene, other: str) -> None:
        self.come_between("consume", scene, other)

    @rule(scene=SCENES, other=KINDS)
    def come_between_a_store(self, scene: Scene, other: str) -> None:
        self.come_between("store", scene, other)

    @rule(scene=SCENES, other=KINDS)
    def come_between_a_publish(self, scene: Scene, other: str) -> None:
        self.come_between("publish", scene, other)

    @rule(scene=SCENES, other=st.sampled_from(["store", "import"]))
    def come_between_a_prepare(self, scene: Scene, other: str) -> None:
        self.come_between("publish", replace(scene, moment=scene.moment % 4), other)

    def _play(self, scene: Scene) -> None:
        self.produce(scene.messages, scene.partition)
        for kind in scene.before:
            self._do(self._operation(kind, scene.messages))

    def _try(self, operation: Operation, results: list[Any]) -> None:
        try:
            results.append(operation.run(self.others))
        except sa.exc.DBAPIError as error:
            if not is_conflict(error):
                raise

    def _settle(self, first: Operation, second: Operation | None, results: tuple[Any, Any]) -> None:
        """Go on with the order of the two that explains what the tables hold."""
        with transaction(self.database.reader, "REPEATABLE READ", read_only=True) as connection:
            held = found(connection)
        tried = []
        for number in range(len(first.transactions) + 1 if second else 1):
            model = self.model.copy()
            tried.append((apply_with(first, second, number, model), wanted(model, _city_hour)))
            if tried[-1] == (results, held):
                self.model = model
                return
        raise AssertionError(f"in no order does this come of it: {(results, held)}, but one of {tried}")

    # ------------------------------------------------------------ what the rules do

    def _do(self, operation: Operation) -> Any:
        result = operation.run(self.database.writer)
        assert result == apply(operation, self.model)
        return result

    def _operation(self, kind: str, messages: list[ObservationMessage] | None = None) -> Operation:
        """The rest of the present topic, or what the messages say."""
        log, messages = self.logs[-1], messages or []
        if kind in ("consume", "store"):
            passed = self.model.offsets if kind == "consume" else self.model.frontier
            ranges = {n: (passed.get(p.id, 0), log.end(n)) for n, p in log.partitions.items()}
            return consuming(log.micro_batch(ranges)) if kind == "consume" else storing(log.chunk(ranges))
        if kind == "import":
            return self._importing(messages)
        if kind == "publish":
            return publishing(messages[0].timestamp.replace(minute=0))
        return computing(DAY_TABLES[messages[0].timestamp.minute % len(DAY_TABLES)], DAYS)

    def _importing(self, messages: list[ObservationMessage]) -> Operation:
        done = importing(observed(self.database, *messages))

        def noted(model: Model, _: Any) -> int | None:
            stored, rows = done.transactions[0](model, None)
            self.keys_of |= {(one.log_partition, one.log_offset): key_of(one.observation) for one in rows}
            return stored

        return Operation(done.run, (noted,))

    # ------------------------------------------------------------ after every step

    @invariant()
    def each_observation_is_served_exactly_once(self) -> None:
        """By the positions that the database says were taken in, and by the model; stale is what the model says."""
        with transaction(self.database.reader, "REPEATABLE READ", read_only=True) as connection:
            held = found(connection)
            observations = everything(connection, "select location, timestamp from served_observations")
            below = everything(
                connection,
                "select r.location, r.timestamp from realtime_data r join batch_coverage c "
                "on c.hour_start = r.hour_start and c.log_partition = r.log_partition and r.log_offset < c.next_offset",
            )
        assert not below, "a covered row is left in the speed layer"
        assert len(observations) == len(set(observations)), "an observation is served twice"
        assert set(observations) == {
            key
            for (partition, offset), key in self.keys_of.items()
            if offset < held["offsets"].get(partition, 0)
            or offset < held["coverage"].get((key[1].replace(minute=0), partition), 0)
        }
        expected = wanted(self.model, _city_hour)
        for name, contents in held.items():
            assert contents == expected[name], name
        assert {hour.hour_start for hour in hours_to_publish(self.database.reader, *DAYS)} == self.model.stale()


def _city_hour(hour: datetime) -> int:
    return hour.astimezone(ZoneInfo(ZONE)).hour
