"""Producers, speed consumers, raw_data runs, imports and publishers, in any order."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import stale_archives
from lambda_pipeline.archive.place import Place
from lambda_pipeline.archive.store import Store
from lambda_pipeline.batch import raw_data
from lambda_pipeline.batch.days import DayTable
from lambda_pipeline.batch.publish import hours_to_publish, prepare, swap
from lambda_pipeline.batch.raw_store import Chunk
from lambda_pipeline.domain.log import DeadLetter
from lambda_pipeline.domain.observation import TOO_LATE, InvalidObservationError, ObservationMessage, decode
from lambda_pipeline.speed.commit import MicroBatch
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import session, transaction
from lambda_pipeline.storage.log_partitions import import_partition
from lambda_pipeline.stream.reader import LogBounds
from lambda_pipeline_tests.integration.observations import APPENDED, LAYER_TABLES, MALFORMED, ZONE, MemoryLog, seen
from lambda_pipeline_tests.integration.union.model import STALE, Key, Late, Model, Position, Prepared, Row
from lambda_pipeline_tests.integration.union.operations import (
    Operation,
    apply,
    computing,
    consuming,
    importing,
    pruning,
    publishing,
    storing,
)
from lambda_pipeline_tests.integration.union.reading import archived_rows, everything, found, late_letters, wanted
from lambda_pipeline_tests.servers import Database

HOURS = [  # two neighbours in two city days, and one at a peak of the first of them, but in another month of UTC
    datetime.fromisoformat(text) for text in ("2025-06-01T16:00Z", "2025-06-01T17:00Z", "2025-05-31T23:00Z")
]
DAYS = (date(2025, 6, 1), date(2025, 6, 3))
ARCHIVE_TABLES = ("raw_archives", "archive_leftovers", "raw_floor")
MONTHS = "select inhrelid::regclass::text from pg_inherits where inhparent = 'raw_data'::regclass order by 1"
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


class Platform(RuleBasedStateMachine):
    """It, beside the model of it."""

    database: Database
    place: Place  # of the archive

    def __init__(self) -> None:
        super().__init__()
        with transaction(self.database.owner) as connection:
            tables = ", ".join((*LAYER_TABLES, *ARCHIVE_TABLES, "log_partitions"))
            connection.execute(sa.text(f"truncate {tables} restart identity"))
            for (month,) in everything(connection, MONTHS):
                connection.execute(sa.text(f"drop table {month}"))
            deployment = load_deployment(connection)
            self.model = Model(import_partition(connection).id, deployment.catalogue_version)
        self.validator = deployment.validator()  # without a floor
        self.logs = [MemoryLog(self.database, partitions=2)]
        self.keys_of: dict[Position, Key] = {}  # every valid record ever produced
        self.late: set[Position] = set()  # those that ever were dead letters because they came too late
        self.files: dict[date, tuple[int, dict[Key, Row]]] = {}  # by day: version, and what the file holds
        self.believed: list[dict[int, int]] = [{}, {}, {}]  # the offsets that each of three consumers goes on from
        self.chunks: list[Chunk] = []  # read by raw_data runs, and not stored yet
        self.prepared = [Prepared(), Prepared()]
        self.open = ExitStack()
        self.sessions = [self.open.enter_context(session(self.database.writer)) for _ in self.prepared]

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
        log = self._log(back)
        believed = self.believed[consumer]
        ranges = {
            number: (start, min(start + counts[number], log.end(number)))
            for number, partition in log.partitions.items()
            if (start := believed.get(partition.id, 0)) < log.end(number) and counts[number]
        }
        batch = self._batch(log, ranges)
        if self._do(consuming(batch, self._late(batch.dead_letters))) == STALE:
            self.believed[consumer] = dict(self.model.offsets)
        else:
            believed |= {move.partition.id: move.next for move in batch.moves}

    # ------------------------------------------------------------ raw_data

    @rule(counts=COUNTS, back=LOGS, on=st.booleans())
    def read_a_chunk(self, counts: tuple[int, ...], back: int, on: bool) -> None:
        """A run reads from the frontiers, or on from what it read before, whatever became of that."""
        log = self._log(back)
        starts = {number: self.model.frontier.get(partition.id, 0) for number, partition in log.partitions.items()}
        if on and self.chunks:
            ends = {partition: end for partition, (_, end) in self.chunks[-1].moves.items()}
            starts = {number: ends.get(log.partitions[number].id, start) for number, start in starts.items()}
        ranges = {number: (start, min(start + counts[number], log.end(number))) for number, start in starts.items()}
        ranges = {number: (start, end) for number, (start, end) in ranges.items() if start < end}
        if ranges:
            self.chunks.append(self._chunk(log, ranges))

    @precondition(lambda self: self.chunks)
    @rule(data=st.data())
    def store_a_chunk(self, data: st.DataObject) -> None:
        """A run stores what it read, maybe long after and maybe after another run did."""
        self._store(self.chunks.pop(data.draw(st.integers(0, len(self.chunks) - 1))))

    @rule(counts=COUNTS)
    def advance(self, counts: tuple[int, ...]) -> None:
        pending, self.chunks = self.chunks, []
        self.read_a_chunk(counts, 1, False)
        for chunk in self.chunks:
            self._store(chunk)
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
            self._store(chunk)
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
        prepare(self.sessions[number], hours, ZONE, None, Store(self.place))
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

    # ------------------------------------------------------------ what the rules do

    def _do(self, operation: Operation) -> Any:
        result = operation.run(self.database.writer)
        assert result == apply(operation, self.model)
        return result

    def _operation(self, kind: str, messages: list[ObservationMessage] | None = None, back: int = 1) -> Operation:
        """The rest of a topic, or what the messages say."""
        log, messages = self._log(back), messages or []
        if kind in ("consume", "store"):
            passed = self.model.offsets if kind == "consume" else self.model.frontier
            ranges = {n: (passed.get(p.id, 0), log.end(n)) for n, p in log.partitions.items()}
            if kind == "consume":
                batch = self._batch(log, ranges)
                return consuming(batch, self._late(batch.dead_letters))
            chunk = self._chunk(log, ranges)
            return storing(chunk, self._late(chunk.dead_letters))
        if kind == "import":
            return importing([self.validator.validate(one, APPENDED) for one in self._acceptable(messages)])
        if kind == "publish":
            return publishing(messages[0].timestamp.replace(minute=0), self.place)
        if kind == "compute":
            return computing(DAY_TABLES[messages[0].timestamp.minute % len(DAY_TABLES)], DAYS)
        raise KeyError(kind)

    def _log(self, back: int) -> MemoryLog:
        """The present topic, or the one before; judged by what is known now."""
        log = self.logs[-min(back, len(self.logs))]
        if log.validator.raw_floor != self.model.floor:
            with transaction(self.database.writer) as connection:
                log.validator = load_deployment(connection).validator()
        return log

    def _batch(self, log: MemoryLog, ranges: dict[int, tuple[int, int]]) -> MicroBatch:
        return replace(log.micro_batch(ranges), catalogue_version=self.model.catalogue_version)

    def _chunk(self, log: MemoryLog, ranges: dict[int, tuple[int, int]]) -> Chunk:
        return replace(log.chunk(ranges), catalogue_version=self.model.catalogue_version)

    def _store(self, chunk: Chunk) -> None:
        self._do(storing(chunk, self._late(chunk.dead_letters)))

    def _late(self, letters: tuple[DeadLetter, ...]) -> Late:
        """What is observed in those that were valid if a month were not dropped."""
        return {
            letter[:2]: self.validator.validate(decode(letter.payload), letter.appended_at)
            for letter in letters
            if letter.error.startswith(TOO_LATE)
        }

    def _acceptable(self, messages: list[ObservationMessage]) -> list[ObservationMessage]:
        """The lines of a file that are not rejected: those of before the floor are."""
        accepted = [one for one in messages if not self.model.is_below(one.timestamp)]
        for one in messages:
            if one not in accepted:
                with pytest.raises(InvalidObservationError, match=TOO_LATE):
                    self._log(1).validator.validate(one, APPENDED)
        return accepted

    # ------------------------------------------------------------ after every step

    @invariant()
    def each_observation_is_served_exactly_once(self) -> None:
        """By the positions that the database says were taken in, and by the model; stale is what the model says."""
        with transaction(self.database.reader, "REPEATABLE READ", read_only=True) as connection:
            held = found(connection)
            self.late |= late_letters(connection)
            observations = everything(connection, "select location, timestamp from served_observations")
            below = everything(
                connection,
                "select r.location, r.timestamp from realtime_data r join batch_coverage c "
                "on c.hour_start = r.hour_start and c.log_partition = r.log_partition and r.log_offset < c.next_offset",
            )
        observations += self._served_from_the_archive(held)
        assert not below, "a covered row is left in the speed layer"
        assert len(observations) == len(set(observations)), "an observation is served twice"
        assert set(observations) == {
            key
            for (partition, offset), key in (self.keys_of | self.model.imported).items()
            if (partition, offset) not in self.late
            if offset < held["offsets"].get(partition, 0)
            or offset < held["coverage"].get((key[1].replace(minute=0), partition), 0)
        }
        expected = wanted(self.model, city_hour)
        for name, contents in held.items():
            assert contents == expected[name], name
        assert {hour.hour_start for hour in hours_to_publish(self.database.reader, *DAYS)} == self.model.stale()
        assert {one.day for one in stale_archives(self.database.reader, *DAYS)} == self.model.stale_archives()

    def _served_from_the_archive(self, held: dict[str, Any]) -> list[Key]:
        """What raw_data does not hold any more, and a publish covers. Looks into the files that are new."""
        archive = Archive(self.database.reader, self.place)
        for day, one in self.model.archives.items():
            if self.files.get(day, (0,))[0] != one.version:
                self.files[day] = one.version, archived_rows(archive, day)
                assert self.files[day][1] == one.rows, day
        return [
            key
            for _, rows in self.files.values()
            for key, row in rows.items()
            if held["floor"] is not None and key[1] < held["floor"]
            if row.position[1] < held["coverage"].get((row.hour, row.position[0]), 0)
        ]


def city_hour(hour: datetime) -> int:
    return hour.astimezone(ZoneInfo(ZONE)).hour
