"""Publishing an hour: the batch layer's side of the union.

served(hour) = batch(hour) + speed(hour). A publish replaces the hour's batch result, moves its coverage to the
frontiers that the result rests on, and removes from the speed layer exactly what the result now holds: one
transaction, so that every reader sees each observation once, before and after.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lambda_pipeline.domain.city_time import HOUR
from lambda_pipeline.errors import ArchiveNeededError, PublishContentionError, UnionViolationError
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.engine import begin, bound_transaction, retrying, session, transaction
from lambda_pipeline.storage.floor import hold_months, raw_floor
from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql, sql_text

if TYPE_CHECKING:
    from lambda_pipeline.archive.store import Store  # with Arrow, which most runs spare
    from lambda_pipeline.batch.archived import ArchiveSource

logger = logging.getLogger(__name__)
CHUNK_ROWS = 500_000  # raw rows that one prepare aggregates
CHUNK_HOURS = 500
ARCHIVED_ROWS = 3_000_000  # of archived days: whole days, which an engine reads whole
_ATTEMPTS = 5  # prepares of an hour that others publish at the same time
ENGINE = "postgres"


@dataclass(frozen=True, slots=True)
class HourToPublish:
    """An hour that raw_data holds, by its start (UTC), how many rows of it are stored, and its day in the city."""

    hour_start: datetime
    rows: int
    city_date: date | None = None  # unknown: PostgreSQL computes it


@dataclass
class Parity:
    """What publishes found in the speed layer, against what batch says of the same positions.

    `compared` rows left the speed layer at the position that batch has them from, `differing` of them with another AQI,
    level, speed or ratio; `duplicates` left it because batch has their key from another position. `drift` counts the
    locations and hours whose `realtime_hourly` was not the sum of its observations. `first_differing` is a
    topic[partition]@offset. A difference stops no publish: from then on batch's values are served.
    """

    compared: int = 0
    duplicates: int = 0
    differing: int = 0
    drift: int = 0
    first_differing: str | None = None

    def add(self, other: "Parity") -> None:
        """Take in what another publish found."""
        self.compared += other.compared
        self.duplicates += other.duplicates
        self.differing += other.differing
        self.drift += other.drift
        self.first_differing = self.first_differing or other.first_differing


@dataclass
class PublishRun:
    """What a publish of many hours did. `rows` are raw rows in the published hours, `moved` those that left speed."""

    hours: int = 0
    rows: int = 0
    moved: int = 0
    prepared_again: int = 0
    by_engine: Counter[str] = field(default_factory=Counter)  # hours
    parity: Parity = field(default_factory=Parity)


def hours_to_publish(engine: sa.Engine, first: date, until: date, *, everything: bool = False) -> list[HourToPublish]:
    """Hours of the city days [first, until) with a stored position that their result does not cover; or all."""
    with transaction(engine, read_only=True) as database:
        rows = database.execute(sql("batch/hours_to_publish"), {"first": first, "until": until, "all": everything})
        return [HourToPublish(row.hour_start, row.rows, row.city_date) for row in rows]


def publish_hours(
    engine: sa.Engine,
    hours: Sequence[HourToPublish],
    timezone: str,
    run_id: str,
    on_hour: Callable[[HourToPublish], None] | None = None,
    source: "ArchiveSource | None" = None,
    archive: "Store | None" = None,
) -> PublishRun:
    """Prepare hours in chunks and swap them in one after the other, the publish lock released in between.

    The days of `source` are computed by its engine, all others by PostgreSQL: out of `archive` where raw_data does not
    hold them any more. What others publish meanwhile is prepared again, by PostgreSQL.

    Raises, with nothing of that hour changed, PublishContentionError if others keep publishing it as well,
    UnionViolationError if the union's promise would break, and ArchiveNeededError if it needs an archive and there is
    none.
    """
    run = PublishRun()

    def swap_in(connection: sa.Connection, hour: HourToPublish, by: str) -> bool:
        moved = retrying(lambda: swap(connection, hour.hour_start, timezone, run_id, run.parity, by))
        if moved is None:
            run.prepared_again += 1
            return False
        run.hours, run.rows, run.moved = run.hours + 1, run.rows + hour.rows, run.moved + moved
        run.by_engine[by] += 1
        if on_hour is not None:
            on_hour(hour)
        return True

    chunks = list(_chunks(hours, source.days if source else frozenset()))
    with closing(_prepared(engine, chunks, timezone, source, archive)) as prepared:
        for chunk, connection, archived in prepared:
            by = dict.fromkeys(archived, source.engine.name) if source else {}
            late = [hour for hour in chunk if not swap_in(connection, hour, by.get(hour.hour_start, ENGINE))]
            for _ in range(_ATTEMPTS - 1):
                if late:
                    prepare(connection, _starts(late), timezone, None, archive)
                    late = [hour for hour in late if not swap_in(connection, hour, ENGINE)]
            if late:
                raise PublishContentionError(
                    f"hour {late[0].hour_start.isoformat()} was published by others {_ATTEMPTS} times "
                    "while this run prepared it.",
                    "Run it again when they are done.",
                )
    return run


def _prepared(
    engine: sa.Engine,
    chunks: Sequence[list[HourToPublish]],
    timezone: str,
    source: "ArchiveSource | None",
    archive: "Store | None",
) -> Generator[tuple[list[HourToPublish], sa.Connection, frozenset[datetime]]]:
    """Each chunk, the session that has it prepared, and the hours of it that the source's engine computed.

    While an engine's chunk is swapped in, the next one is prepared in another session. PostgreSQL's own sums are not:
    they would take from the speed layer what a publish leaves it of the server's processors.
    """
    count = 2 if source and len(chunks) > 1 else 1
    with ExitStack() as stack:
        sessions = [stack.enter_context(session(engine)) for _ in range(count)]
        worker = stack.enter_context(ThreadPoolExecutor(1, "prepare"))  # one: an engine serves one thread at a time
        ahead: deque[Future[frozenset[datetime]]] = deque()
        for number, chunk in enumerate(chunks):
            while len(ahead) < count and (later := number + len(ahead)) < len(chunks):
                starts = _starts(chunks[later])
                ahead.append(worker.submit(prepare, sessions[later % count], starts, timezone, source, archive))
            yield chunk, sessions[number % count], ahead.popleft().result()


def _starts(hours: Sequence[HourToPublish]) -> list[datetime]:
    return [hour.hour_start for hour in hours]


def prepare(
    connection: sa.Connection,
    hours: Sequence[datetime],
    timezone: str,
    source: "ArchiveSource | None" = None,
    archive: "Store | None" = None,
) -> frozenset[datetime]:
    """Aggregate hours into the session's staging tables and note the frontiers, in one snapshot and without a lock.

    Returns the hours that the source's engine computed: none without a source, or where it failed.

    Where the speed layer holds something of them, note also which of its rows the results contain, and measure it.
    Hours below the retention floor are aggregated out of `archive`: never out of a table that was emptied.
    """
    values = {"start": min(hours), "end": max(hours) + HOUR, "hours": list(hours), "timezone": timezone}
    with begin(connection, "REPEATABLE READ"):
        hold_months(connection)
        run_script(connection, sql_text("batch/plan_by_index"))
        run_script(connection, sql_text("batch/create_prepared"))
        connection.execute(sql("batch/prepare_frontiers"))
        archived = source.prepare(connection, hours, timezone) if source else frozenset[datetime]()
        stored = [hour for hour in hours if hour not in archived]
        if stored:
            _aggregate(connection, values | {"hours": stored}, archive)
        connection.execute(sql("batch/prepare_cities"))
        held = list(connection.execute(sql("batch/held_by_speed"), values).scalars())
        if held:
            values |= {"start": min(held), "end": max(held) + HOUR, "hours": held}
            run_script(connection, sql_text("batch/plan_by_hash"))
            connection.execute(sql("batch/prepare_moves"), values)
            connection.execute(sql("batch/prepare_drift"), values)
    return archived


def _aggregate(connection: sa.Connection, values: dict[str, Any], archive: "Store | None") -> None:
    """PostgreSQL's sums: of raw_data, or, of hours below the retention floor, of rows that the archive gave back."""
    hours, floor = values["hours"], raw_floor(connection)
    if floor is not None and min(hours) < floor:
        _gather(connection, hours, floor, archive)
        connection.execute(_aggregate_dropped(), values)
    else:
        connection.execute(sql("batch/prepare_aggregations"), values)


def _gather(connection: sa.Connection, hours: Sequence[datetime], floor: datetime, archive: "Store | None") -> None:
    if archive is None:
        raise ArchiveNeededError(
            f"hour {min(hours).isoformat()} is in the archive alone: raw_data begins at {floor.isoformat()}. "
            "Nothing was changed.",
            "Set LAMBDA_ARCHIVE_URL to where this database's archive is.",
        )
    from lambda_pipeline.archive.dropped import gather_hours  # noqa: PLC0415 - with Arrow, which few publishes need

    gather_hours(connection, archive, hours, floor)


@cache
def _aggregate_dropped() -> sa.TextClause:
    """The same aggregation, over `dropped_rows`."""
    text = sql_text("batch/prepare_aggregations")
    if text.count("from raw_data") != 1:
        raise RuntimeError("sql/batch/prepare_aggregations.sql is to read raw_data in one place")
    return sa.text(text.replace("from raw_data", "from dropped_rows"))


def swap(
    connection: sa.Connection,
    hour: datetime,
    timezone: str,
    run_id: str,
    total: Parity | None = None,
    engine: str = ENGINE,
) -> int | None:
    """Publish one prepared hour; returns how many rows left the speed layer, or None if it must be prepared again.

    1. Take the publish lock: no speed commit and no other swap until this one ends.
    2. Give up if the hour's coverage is already beyond the prepared frontiers: a newer result must not be undone.
    3. Replace the hour's aggregates, also the city's.
    4. Set the hour's coverage to the prepared frontiers.
    5. Delete from `realtime_data` exactly the rows whose key was published: those that the prepare found, at the place
       and position where it found them; then, by key, what was consumed since.
    6. Check that no row is left below the coverage: a slip must be loud, never a silent loss.
    7. Recompute the hour of `realtime_hourly` from what remains; note the publication.

    What it measured of the two layers is added to `total` when it is committed.
    """
    values = {"hour": hour, "end": hour + HOUR, "timezone": timezone}
    with begin(connection, "READ COMMITTED"):
        bound_transaction(connection)
        run_script(connection, sql_text("batch/plan_by_index"))
        locks.hold_publish(connection)
        if connection.execute(sql("batch/newer_coverage"), values).scalar_one():
            logger.info("hour %s was published from further on meanwhile, preparing it again", hour.isoformat())
            return None
        connection.execute(sql("batch/clear_hour"), values)
        connection.execute(sql("batch/replace_hour"), values)
        connection.execute(sql("batch/replace_city_hour"), values)
        connection.execute(sql("batch/cover_hour"), values)
        equal = connection.execute(sql("batch/remove_equal"), values).rowcount
        moved, parity = _remove(connection, "batch/remove_other", values)
        moved, parity.compared = moved + equal, parity.compared + equal
        connection.execute(sql("batch/clear_realtime_hour"), values)
        run_script(connection, sql_text("batch/pass_in_order"))
        if connection.execute(sql("batch/is_held"), values).scalar_one():
            more, found = _remove(connection, "batch/remove_published", values)
            moved += more
            parity.add(found)
            _refuse_uncovered(connection, values)
            connection.execute(sql("batch/recompute_realtime_hour"), values)
        parity.drift = connection.execute(sql("batch/hour_drift"), values).scalar_one()
        noted = {
            "compared": parity.compared,
            "duplicates": parity.duplicates,
            "differing": parity.differing,
            "drift": parity.drift,
        }
        connection.execute(sql("batch/note_publication"), {"hour": hour, "run_id": run_id, "engine": engine, **noted})
    _warn_of_differences(hour, parity)
    if total is not None:
        total.add(parity)
    return moved


def _remove(connection: sa.Connection, statement: str, values: dict[str, Any]) -> tuple[int, Parity]:
    """Delete rows of the hour from the speed layer; how many, and what the comparison says of them."""
    row = connection.execute(sql(statement), values).one()
    parity = Parity(row.compared, row.moved - row.compared, row.differing)
    if row.differing:
        partition, offset = row.first_differing
        where = connection.execute(sql("batch/name_position"), {"partition": partition, "offset": offset})
        parity.first_differing = where.scalar_one()
    return row.moved, parity


def _refuse_uncovered(connection: sa.Connection, values: dict[str, Any]) -> None:
    left = connection.execute(sql("batch/find_uncovered"), values).one_or_none()
    if left is not None:
        raise UnionViolationError(
            f"{left.topic}[{left.partition}]@{left.log_offset} ({left.location}, {left.timestamp.isoformat()}) "
            f"is covered by the publish of hour {values['hour'].isoformat()}, but not in raw_data. "
            "Nothing was changed.",
            "This is a defect or a damaged raw_data; please report it with the log of this run.",
        )


def _warn_of_differences(hour: datetime, parity: Parity) -> None:
    if parity.differing:
        logger.warning(
            "hour %s: %d of %d observations had other values in the speed layer than in raw_data, first %s; "
            "the batch layer's are served from now on",
            hour.isoformat(), parity.differing, parity.compared, parity.first_differing,
        )  # fmt: skip
    if parity.drift:
        logger.warning(
            "hour %s: realtime_hourly was not the sum of realtime_data at %d locations",
            hour.isoformat(), parity.drift,
        )  # fmt: skip


def _chunks(hours: Sequence[HourToPublish], archived: Collection[date]) -> Iterator[list[HourToPublish]]:
    """Neighbouring hours, so many that one prepare reads a bounded number of rows; of archived days whole days."""
    chunk: list[HourToPublish] = []
    rows = 0
    for hour in sorted(hours, key=lambda hour: hour.hour_start):
        if chunk and _ends(chunk, rows, hour, archived):
            yield chunk
            chunk, rows = [], 0
        chunk.append(hour)
        rows += hour.rows
    if chunk:
        yield chunk


def _ends(chunk: list[HourToPublish], rows: int, after: HourToPublish, archived: Collection[date]) -> bool:
    """Whether the chunk, of so many rows, ends before the hour that comes after it."""
    is_archived = chunk[-1].city_date in archived
    if is_archived != (after.city_date in archived):
        return True
    if is_archived:
        is_full = rows >= ARCHIVED_ROWS or len(chunk) >= CHUNK_HOURS
        return is_full and after.city_date != chunk[-1].city_date
    return rows + after.rows > CHUNK_ROWS or len(chunk) >= CHUNK_HOURS
