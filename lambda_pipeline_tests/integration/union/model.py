"""The design's `union_model.py` with values: what the tables ought to hold after each transaction."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from lambda_pipeline.domain.log import DeadLetter, Incoming
from lambda_pipeline.domain.observation import Observation

Key = tuple[str, datetime]
Position = tuple[int, int]  # (log partition, offset)
Span = tuple[int, int]  # (first offset, offset after the last)
STALE: Literal["stale"] = "stale"  # what a zombie's commit comes to


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
    """What the tables ought to hold. Every method that changes something is one transaction, or a part of prepare."""

    def __init__(self, import_partition: int) -> None:
        self.import_partition = import_partition
        self.offsets: dict[int, int] = {}
        self.frontier: dict[int, int] = {}
        self.coverage: dict[tuple[datetime, int], int] = {}
        self.realtime: dict[Key, Row] = {}
        self.raw: dict[Key, Row] = {}
        self.batch: dict[datetime, dict[Key, Row]] = {}
        self.dead: set[Position] = set()
        self.days: dict[str, dict[datetime, dict[Key, Row]]] = {}  # table: the hours that it was computed from

    def copy(self) -> "Model":
        """Another one of the same contents, for what may turn out not to have happened."""
        twin = Model(self.import_partition)
        for name, value in vars(self).items():
            if name != "import_partition":
                setattr(twin, name, value.copy())
        return twin

    def is_published(self, key: Key) -> bool:
        """Whether the batch layer serves it."""
        row = self.raw.get(key)
        return row is not None and row.position[1] < self.coverage.get((row.hour, row.position[0]), 0)

    def commit(
        self, incoming: Iterable[Incoming], dead: Iterable[DeadLetter], moves: dict[int, Span]
    ) -> int | Literal["stale"]:
        """A micro-batch; how many observations the speed layer gained."""
        if any(self.offsets.get(partition, 0) != start for partition, (start, _) in moves.items()):
            return STALE
        gained = 0
        for key, row in _in_key_order(incoming):
            if key not in self.realtime and not self.is_published(key):
                self.realtime[key] = row
                gained += 1
        self.dead |= {letter[:2] for letter in dead}
        self.offsets |= {partition: end for partition, (_, end) in moves.items()}
        return gained

    def store(self, incoming: Iterable[Incoming], dead: Iterable[DeadLetter], moves: dict[int, Span]) -> int | None:
        """A chunk of raw_data; how many rows are new, None where another run moved a frontier."""
        if any(self.frontier.get(partition, 0) != start for partition, (start, _) in moves.items()):
            return None
        stored = 0
        for key, row in _in_key_order(incoming):
            if key not in self.raw:
                self.raw[key] = row
                stored += 1
        self.dead |= {letter[:2] for letter in dead}
        self.frontier |= {partition: end for partition, (_, end) in moves.items()}
        return stored

    def import_rows(self, observations: list[Observation]) -> tuple[int | None, list[Incoming]]:
        """A file's rows, at the import log's next positions; how many are new, and all of them."""
        partition = self.import_partition
        first = self.frontier.get(partition, 0)
        rows = [Incoming(one, "import:test", partition, first + number) for number, one in enumerate(observations)]
        return self.store(rows, (), {partition: (first, first + len(rows))}), rows

    def rescue(self, partition: int, beginning: int) -> None:
        """raw_data's run where the log begins after its frontier: out of what the speed layer consumed."""
        start = self.frontier.get(partition, 0)
        for key, row in self.realtime.items():
            if row.position[0] == partition and start <= row.position[1] < beginning:
                self.raw.setdefault(key, row)
        self.frontier[partition] = beginning

    def prepare(self, hours: list[datetime]) -> Prepared:
        """A publish's first transaction."""
        return Prepared(hours, {key: row for key, row in self.raw.items() if row.hour in hours}, dict(self.frontier))

    def swap(self, prepared: Prepared, hour: datetime) -> int | None:
        """A publish's second transaction; how many rows left the speed layer, None where a newer one came first."""
        covered = {partition: offset for (of, partition), offset in self.coverage.items() if of == hour}
        if any(offset > prepared.frontier.get(partition, 0) for partition, offset in covered.items()):
            return None
        self.coverage |= {(hour, partition): offset for partition, offset in prepared.frontier.items()}
        self.batch[hour] = {key: row for key, row in prepared.rows.items() if row.hour == hour}
        published = [key for key in self.realtime if key in self.batch[hour]]
        for key in published:
            del self.realtime[key]
        return len(published)

    def prune(self) -> None:
        """Dead letters that are old: those that both layers are beyond."""
        read = {partition: min(offset, self.frontier.get(partition, 0)) for partition, offset in self.offsets.items()}
        self.dead = {(partition, offset) for partition, offset in self.dead if offset >= read.get(partition, 0)}

    def compute(self, table: str) -> None:
        """A table of the days, from what is published."""
        self.days[table] = self.batch.copy()

    def stale(self) -> set[datetime]:
        """Hours of which raw_data holds something that is not published."""
        return {row.hour for key, row in self.raw.items() if not self.is_published(key)}

    def served(self) -> dict[Key, tuple[str, Row]]:
        """Every observation, with the layer that serves it."""
        batch = {key: ("batch", row) for rows in self.batch.values() for key, row in rows.items()}
        speed = {key: ("speed", row) for key, row in self.realtime.items()}
        assert not batch.keys() & speed.keys(), "an observation is in both layers"
        return batch | speed


def _in_key_order(incoming: Iterable[Incoming]) -> list[tuple[Key, Row]]:
    rows = [(key_of(one.observation), _row(one)) for one in incoming]
    return sorted(rows, key=lambda pair: (pair[0], pair[1].position))


def key_of(observation: Observation) -> Key:
    """What identifies an observation."""
    return observation.location, observation.timestamp


def _row(one: Incoming) -> Row:
    found = one.observation
    values = (found.aqi_value, found.traffic_level, found.current_speed, found.congestion_ratio)
    return Row((one.log_partition, one.log_offset), found.hour_start, found.city_date, values)
