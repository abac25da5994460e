"""The design's `union_model.py` with values: what the tables ought to hold after each transaction."""

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

from lambda_pipeline.domain.log import DeadLetter, Incoming
from lambda_pipeline.domain.observation import Observation

Key = tuple[str, datetime]
Position = tuple[int, int]  # (log partition, offset)
Span = tuple[int, int]  # (first offset, offset after the last)
Late = Mapping[Position, Observation]  # what is observed in letters that are too late for raw_data
STALE: Literal["stale"] = "stale"  # what a zombie's commit comes to
OUTDATED: Literal["outdated"] = "outdated"  # and one that was judged before the retention floor rose
REFUSED: Literal["refused"] = "refused"  # an import of what is below it
OVERTAKEN: Literal["overtaken"] = "overtaken"  # an archive's run whose day another one wrote meanwhile


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


@dataclass(frozen=True)
class Archived:
    """A day's file; `covered` are the frontiers that it was written at."""

    version: int
    rows: dict[Key, Row]
    covered: dict[int, int]


class Model:
    """What the tables ought to hold. Every method that changes something is one transaction, or a part of one."""

    def __init__(self, import_partition: int, catalogue_version: int) -> None:
        self.import_partition = import_partition
        self.catalogue_version = catalogue_version
        self.offsets: dict[int, int] = {}
        self.frontier: dict[int, int] = {}
        self.coverage: dict[tuple[datetime, int], int] = {}
        self.realtime: dict[Key, Row] = {}
        self.raw: dict[Key, Row] = {}  # with what only the archive holds
        self.batch: dict[datetime, dict[Key, Row]] = {}
        self.dead: set[Position] = set()
        self.days: dict[str, dict[datetime, dict[Key, Row]]] = {}  # table: the hours that it was computed from
        self.imported: dict[Position, Key] = {}  # also what came in from dead letters
        self.floor: datetime | None = None  # what is before it is in the archive alone
        self.late: dict[Position, Observation] = {}  # open letters from below it, in their order
        self.archives: dict[date, Archived] = {}

    def copy(self) -> "Model":
        """Another one of the same contents, for what may turn out not to have happened."""
        twin = copy(self)
        for name, value in vars(self).items():
            setattr(twin, name, copy(value))
        return twin

    def is_published(self, key: Key) -> bool:
        """Whether the batch layer serves it."""
        row = self.raw.get(key)
        return row is not None and row.position[1] < self.coverage.get((row.hour, row.position[0]), 0)

    def commit(
        self,
        incoming: Iterable[Incoming],
        dead: Iterable[DeadLetter],
        moves: dict[int, Span],
        judged_by: int | None = None,
        late: Late | None = None,
    ) -> int | Literal["stale", "outdated"]:
        """A micro-batch; how many observations the speed layer gained."""
        if any(self.offsets.get(partition, 0) != start for partition, (start, _) in moves.items()):
            return STALE
        if judged_by not in (None, self.catalogue_version):
            return OUTDATED
        gained = 0
        for key, row in _in_key_order(incoming):
            if key not in self.realtime and not self.is_published(key):
                self.realtime[key] = row
                gained += 1
        late = late or {}
        self._keep([one for one in dead if one[:2] not in late or one[1] >= self.frontier.get(one[0], 0)], late)
        self.offsets |= {partition: end for partition, (_, end) in moves.items()}
        return gained

    def store(
        self,
        incoming: Iterable[Incoming],
        dead: Iterable[DeadLetter],
        moves: dict[int, Span],
        judged_by: int | None = None,
        late: Late | None = None,
    ) -> int | None:
        """A chunk of raw_data; how many rows are new, None where another run moved a frontier or the floor rose."""
        if any(self.frontier.get(partition, 0) != start for partition, (start, _) in moves.items()):
            return None
        if judged_by not in (None, self.catalogue_version):
            return None
        stored = 0
        for key, row in _in_key_order(incoming):
            if key not in self.raw:
                self.raw[key] = row
                stored += 1
        self._keep(dead, late or {})
        self.frontier |= {partition: end for partition, (_, end) in moves.items()}
        return stored

    def import_rows(self, observations: list[Observation]) -> int | Literal["refused"] | None:
        """A file's rows, at the import log's next positions; how many are new."""
        if any(self.is_below(one.timestamp) for one in observations):
            return REFUSED
        rows, moves = self._draw(observations)
        return self.store(rows, (), moves)

    def _draw(self, observations: Iterable[Observation]) -> tuple[list[Incoming], dict[int, Span]]:
        partition = self.import_partition
        first = self.frontier.get(partition, 0)
        rows = [Incoming(one, "import:test", partition, first + number) for number, one in enumerate(observations)]
        self.imported |= {one[2:4]: key_of(one.observation) for one in rows}
        return rows, {partition: (first, first + len(rows))}

    def _keep(self, letters: Iterable[DeadLetter], late: Late) -> None:
        """Each once, whether it is open still or not."""
        new = sorted(letter[:2] for letter in letters if letter[:2] not in self.dead)
        self.dead |= set(new)
        self.late |= {position: late[position] for position in new if position in late}

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
        self.late = {position: one for position, one in self.late.items() if position in self.dead}

    def compute(self, table: str) -> None:
        """A table of the days, from what is published."""
        self.days[table] = self.batch.copy()

    # ------------------------------------------------------------ the archive

    def is_below(self, instant: datetime) -> bool:
        """Whether it is of a month that raw_data does not hold any more."""
        return self.floor is not None and instant < self.floor

    def versions(self) -> dict[date, int]:
        """By day, which writing of it is its archive."""
        return {day: one.version for day, one in self.archives.items()}

    def contents(self, day: date) -> Archived | None:
        """What an archive's run reads of a day, and makes its next version."""
        rows = {key: row for key, row in self.raw.items() if row.day == day}
        return Archived(self.versions().get(day, 0) + 1, rows, dict(self.frontier)) if rows else None

    def archive(self, day: date, read: Archived | None) -> int | Literal["overtaken"] | None:
        """An archive's run puts what it read; the version, None where it read nothing."""
        if read is None:
            return None
        if read.version != self.versions().get(day, 0) + 1:
            return OVERTAKEN
        self.archives[day] = read
        return read.version

    def stale_archives(self) -> set[date]:
        """Days of which raw_data holds what their archive does not."""
        return {row.day for key, row in self.raw.items() if not self._is_archived(key, row)}

    def _is_archived(self, key: Key, row: Row) -> bool:
        return row.day in self.archives and key in self.archives[row.day].rows

    def days_of(self, month: datetime) -> set[date]:
        """The city days of which a month holds rows."""
        return {row.day for row in self.raw.values() if month <= row.hour < _end_of(month)}

    def drop(self, month: datetime, seen: dict[date, int]) -> bool:
        """A month leaves raw_data, its days being archived as `versions` said before, published, and all of that."""
        days, end = self.days_of(month), _end_of(month)
        if (
            any(key[1] < month and not self.is_below(key[1]) for key in self.raw)
            or any(day not in seen or self.versions()[day] != seen[day] for day in days)
            or any(row.day in days and not self.is_published(key) for key, row in self.raw.items())
            or days & self.stale_archives()
            or any(row.hour < end for row in self.realtime.values())
        ):
            return False
        self.floor = end
        self.catalogue_version += 1
        return True

    def gaining(self) -> list[date]:
        """The days whose files the open letters change."""
        return sorted({one.city_date for one in self.late.values() if key_of(one) not in self.raw})

    def retry(self, seen: dict[date, int]) -> list[tuple[str, bool]]:
        """The open letters come in: what became of each, and whether it was known before."""
        gaining = self.gaining()
        if any(self.versions().get(day) != seen.get(day) for day in gaining):
            return [("refused", False)] * len(self.late)
        fates = []
        rows, moves = self._draw(self.late.values()) if self.late else ([], {})
        for one in rows:
            fates.append(("archived", key_of(one.observation) in self.raw))
            self.raw.setdefault(key_of(one.observation), _row(one))
        self.frontier |= {partition: end for partition, (_, end) in moves.items()}
        for day in gaining:
            self.archive(day, self.contents(day))
        self.late = {}
        return fates

    # ------------------------------------------------------------ what comes of it

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


def _end_of(month: datetime) -> datetime:
    return (month + timedelta(days=32)).replace(day=1)
