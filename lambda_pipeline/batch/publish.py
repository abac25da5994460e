"""Publishing an hour: the batch layer's side of the union.

served(hour) = batch(hour) + speed(hour). A publish replaces the hour's batch result, moves its coverage to the
frontiers that the result rests on, and removes from the speed layer exactly what the result now holds: one
transaction, so that every reader sees each observation once, before and after.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from lambda_pipeline.domain.city_time import HOUR
from lambda_pipeline.errors import UnionViolationError
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.engine import begin, bound_transaction, retrying, session, transaction
from lambda_pipeline.storage.migrate import run_script
from lambda_pipeline.storage.sql import sql, sql_text

logger = logging.getLogger(__name__)
CHUNK_ROWS = 2_000_000  # raw rows that one prepare aggregates
CHUNK_HOURS = 500
_ATTEMPTS = 5  # prepares of an hour that others publish at the same time
ENGINE = "postgres"


@dataclass(frozen=True, slots=True)
class HourToPublish:
    """An hour that raw_data holds, by its start (UTC), and how many rows of it are stored."""

    hour_start: datetime
    rows: int


@dataclass
class PublishRun:
    """What a publish of many hours did. `rows` are raw rows in the published hours, `moved` those that left speed."""

    hours: int = 0
    rows: int = 0
    moved: int = 0
    prepared_again: int = 0


def hours_to_publish(engine: sa.Engine, first: date, until: date, *, everything: bool = False) -> list[HourToPublish]:
    """Hours of the city days [first, until) with a stored position that their result does not cover; or all."""
    with transaction(engine, read_only=True) as database:
        rows = database.execute(sql("batch/hours_to_publish"), {"first": first, "until": until, "all": everything})
        return [HourToPublish(row.hour_start, row.rows) for row in rows]


def publish_hours(
    engine: sa.Engine,
    hours: Sequence[HourToPublish],
    timezone: str,
    run_id: str,
    on_hour: Callable[[HourToPublish], None] | None = None,
) -> PublishRun:
    """Prepare hours in chunks and swap them in one after the other, the publish lock released in between.

    Raises UnionViolationError, with nothing of that hour changed, if the union's promise would break.
    """
    run = PublishRun()
    with session(engine) as connection:
        for chunk in _chunks(hours):
            pending, attempt = list(chunk), 0
            while pending:
                attempt += 1
                if attempt > _ATTEMPTS:
                    raise UnionViolationError(
                        f"hour {pending[0].hour_start.isoformat()} was published by others {_ATTEMPTS} times "
                        "while this run prepared it.",
                        "Run it again when they are done.",
                    )
                prepare(connection, [hour.hour_start for hour in pending], timezone)
                late = []
                for hour in pending:
                    moved = retrying(lambda hour=hour: swap(connection, hour.hour_start, timezone, run_id))  # type: ignore[misc]
                    if moved is None:
                        late.append(hour)
                        continue
                    run.hours, run.rows, run.moved = run.hours + 1, run.rows + hour.rows, run.moved + moved
                    if on_hour is not None:
                        on_hour(hour)
                run.prepared_again += len(late)
                pending = late
    return run


def prepare(connection: sa.Connection, hours: Sequence[datetime], timezone: str) -> None:
    """Aggregate hours into the session's staging table and note the frontiers, in one snapshot and without a lock."""
    with begin(connection, "REPEATABLE READ"):
        run_script(connection, sql_text("batch/create_prepared"))
        connection.execute(sql("batch/prepare_frontiers"))
        connection.execute(
            sql("batch/prepare_aggregations"),
            {"start": min(hours), "end": max(hours) + HOUR, "hours": list(hours), "timezone": timezone},
        )


def swap(connection: sa.Connection, hour: datetime, timezone: str, run_id: str) -> int | None:
    """Publish one prepared hour; returns how many rows left the speed layer, or None if it must be prepared again.

    1. Take the publish lock: no speed commit and no other swap until this one ends.
    2. Give up if the hour's coverage is already beyond the prepared frontiers: a newer result must not be undone.
    3. Replace the hour's aggregates, also the city's.
    4. Set the hour's coverage to the prepared frontiers.
    5. Delete from `realtime_data` exactly the rows whose key was published.
    6. Check that no row is left below the coverage: a slip must be loud, never a silent loss.
    7. Recompute the hour of `realtime_hourly` from what remains; note the publication.
    """
    values = {"hour": hour, "end": hour + HOUR, "timezone": timezone}
    with begin(connection, "READ COMMITTED"):
        bound_transaction(connection)
        locks.hold_publish(connection)
        if connection.execute(sql("batch/newer_coverage"), values).scalar_one():
            logger.info("hour %s was published from further on meanwhile, preparing it again", hour.isoformat())
            return None
        connection.execute(sql("batch/clear_hour"), values)
        connection.execute(sql("batch/replace_hour"), values)
        connection.execute(sql("batch/replace_city_hour"), values)
        connection.execute(sql("batch/cover_hour"), values)
        moved = connection.execute(sql("batch/remove_published"), values).rowcount
        left = connection.execute(sql("batch/find_uncovered"), values).one_or_none()
        if left is not None:
            raise UnionViolationError(
                f"{left.topic}[{left.partition}]@{left.log_offset} ({left.location}, {left.timestamp.isoformat()}) "
                f"is covered by the publish of hour {hour.isoformat()}, but not in raw_data. Nothing was changed.",
                "This is a defect or a damaged raw_data; please report it with the log of this run.",
            )
        connection.execute(sql("batch/clear_realtime_hour"), values)
        connection.execute(sql("batch/recompute_realtime_hour"), values)
        connection.execute(sql("batch/note_publication"), {"hour": hour, "run_id": run_id, "engine": ENGINE})
    return int(moved)


def _chunks(hours: Sequence[HourToPublish]) -> Iterator[list[HourToPublish]]:
    """Neighbouring hours, so many that one prepare reads a bounded number of rows."""
    chunk: list[HourToPublish] = []
    rows = 0
    for hour in sorted(hours, key=lambda hour: hour.hour_start):
        if chunk and (rows + hour.rows > CHUNK_ROWS or len(chunk) >= CHUNK_HOURS):
            yield chunk
            chunk, rows = [], 0
        chunk.append(hour)
        rows += hour.rows
    if chunk:
        yield chunk
