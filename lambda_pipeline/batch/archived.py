"""Hours out of the archive, in a publish's prepare: which days may be taken from it, and their sums.

A day may be where its archive is verified and, in the prepare's own snapshot, holds exactly what raw_data does: then
the frontiers of that snapshot are those that the sums rest on, and the swap is the same. Whatever goes wrong,
PostgreSQL computes the hours in the same snapshot.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import sqlalchemy as sa

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import Manifest, current_archives
from lambda_pipeline.batch.engines.engine import ArchiveEngine
from lambda_pipeline.batch.engines.landing import land
from lambda_pipeline.errors import (
    ArchiveDamagedError,
    ArchiveMismatchError,
    ArchiveUnavailableError,
    EngineError,
    LambdaPipelineError,
)
from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql, sql_text

logger = logging.getLogger(__name__)


@dataclass
class Used:
    """What an engine did in a run: files, bytes and raw rows that it read, seconds that it and landing took."""

    days: int = 0
    bytes: int = 0
    rows: int = 0
    seconds: float = 0.0
    fell_back: list[str] = field(default_factory=list)  # why, in a sentence each


class ArchiveSource:
    """An engine over an archive, for as long as a run publishes with it."""

    def __init__(self, archive: Archive, engine: ArchiveEngine, days: Sequence[date]) -> None:
        """`days` are those that are to be taken from the archive, as far as they still may be."""
        self.archive = archive
        self.engine = engine
        self.days = frozenset(days)
        self.used = Used()
        self._is_away = False

    def prepare(self, connection: sa.Connection, hours: Sequence[datetime], timezone: str) -> frozenset[datetime]:
        """Put the sums of the hours of archived days into `prepared_aggregations`; which hours those are.

        Within the prepare's snapshot. None where the archive or the engine fails: nothing of it is left then.
        """
        if self._is_away:
            return frozenset()
        by_day = self._by_day(connection, hours)
        manifests = self._current(connection, by_day)
        taken = sorted(hour for one in manifests for hour in by_day[one.city_date])
        if not taken:
            return frozenset()
        started = time.perf_counter()
        try:
            with connection.begin_nested():
                self._land(connection, manifests, taken, timezone)
        except (ArchiveDamagedError, ArchiveMismatchError, ArchiveUnavailableError, EngineError) as error:
            self._fall_back(error, manifests)
            return frozenset()
        self.used.days += len(manifests)
        self.used.bytes += sum(one.bytes for one in manifests)
        self.used.rows += sum(one.rows for one in manifests)
        self.used.seconds += time.perf_counter() - started
        return frozenset(taken)

    def _by_day(self, connection: sa.Connection, hours: Sequence[datetime]) -> dict[date, list[datetime]]:
        query = sa.text("select distinct city_date, hour_start from raw_hours where hour_start = any(:hours)")
        found: dict[date, list[datetime]] = {}
        for row in connection.execute(query, {"hours": list(hours)}):
            found.setdefault(row.city_date, []).append(row.hour_start)
        return found

    def _current(self, connection: sa.Connection, by_day: dict[date, list[datetime]]) -> list[Manifest]:
        days = self.days & by_day.keys()
        if not days:
            return []
        current = current_archives(connection, min(days), max(days) + timedelta(days=1))
        manifests = [one for one in current if one.city_date in days]
        for day in sorted(days - {one.city_date for one in manifests}):
            self._note(f"{day}: raw_data holds other rows than its archive by now.")
        return manifests

    def _land(
        self, connection: sa.Connection, manifests: Sequence[Manifest], hours: Sequence[datetime], timezone: str
    ) -> None:
        run_script(connection, sql_text("batch/create_landed"))
        rows = land(connection, self.engine.aggregate(self.archive, manifests, hours))
        values = {"hours": list(hours), "timezone": timezone}
        wrong = connection.execute(sql("batch/landed_otherwise"), values).one_or_none()
        if wrong is None:
            run_script(connection, sql_text("batch/plan_by_hash"))
            prepared = connection.execute(sql("batch/prepare_landed"), values).rowcount
            run_script(connection, sql_text("batch/plan_freely"))
            if prepared == rows:
                return
        where = f"hour {wrong.hour_start.isoformat()}: {wrong.landed} rows, not {wrong.rows}" if wrong else "rows lost"
        raise ArchiveMismatchError(
            f"{self.engine.name} counted other rows of an archived day than raw_data stored ({where}).",
            "This is a defect or a damaged raw_data; please report it with the log of this run.",
        )

    def _fall_back(self, error: LambdaPipelineError, manifests: Sequence[Manifest]) -> None:
        """A damaged day is one day's; a store or an engine that fails once is not asked again in this run."""
        self._is_away = not isinstance(error, ArchiveDamagedError)
        days = f"{manifests[0].city_date} to {manifests[-1].city_date}" if len(manifests) > 1 else (
            f"{manifests[0].city_date}"
        )  # fmt: skip
        self._note(f"{days}: {error.message}")

    def _note(self, reason: str) -> None:
        self.used.fell_back.append(reason)
        logger.warning("%s PostgreSQL computes its hours.", reason)
