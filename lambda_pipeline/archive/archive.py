"""The archive of a database: what is written, read and found of whole days."""

import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import sqlalchemy as sa

from lambda_pipeline.archive import manifest as manifests
from lambda_pipeline.archive.late import merge_late
from lambda_pipeline.archive.manifest import LEFT_FOR, Manifest
from lambda_pipeline.archive.place import Place, S3Access
from lambda_pipeline.archive.read import Totals, day_totals, fetch_day, read_day, verify
from lambda_pipeline.archive.store import Store
from lambda_pipeline.archive.write import archive_day
from lambda_pipeline.domain.observation import Observation
from lambda_pipeline.errors import ArchiveDamagedError, ArchiveUnavailableError
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.log_partitions import LogPartition

logger = logging.getLogger(__name__)


class Archive:
    """A database's days in a store. Readers are handed verified days only."""

    def __init__(self, engine: sa.Engine, place: Place, access: S3Access | None = None) -> None:
        """Does not connect."""
        self._engine = engine
        self.store = Store(place, access)

    def write(self, day: date, run_id: str) -> Manifest | None:
        """Archive a city day as raw_data holds it now; see `archive_day`."""
        return archive_day(self._engine, self.store, day, run_id)

    def merge(
        self, database: sa.Connection, observations: Sequence[Observation]
    ) -> tuple[LogPartition, list[int | None]]:
        """Bring late observations into the archives of days that raw_data holds no more; see `merge_late`."""
        return merge_late(self._engine, database, self.store, observations, "dead-letters retry")

    def days(self, first: date, until: date) -> list[Manifest]:
        """The verified archives of the city days [first, until), in order."""
        with transaction(self._engine, read_only=True) as connection:
            return manifests.load_manifests(connection, first, until)

    def read(
        self, manifest: Manifest, columns: Sequence[str] | None = None, locations: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """A day's observations by location and time; see `read_day`."""
        return read_day(self.store, manifest, columns, locations)

    def examine(self, manifest: Manifest, floor: datetime | None = None) -> tuple[Totals, int]:
        """Read all of a day's file: sums over its rows from `floor` on, and how many are of whole hours before it.

        Raises ArchiveDamagedError, and notes that it is so.
        """
        try:
            verify(self.store, manifest)
            return day_totals(self.store, manifest, floor)
        except ArchiveDamagedError:
            manifests.mark_damaged(self._engine, manifest)
            raise

    def fetch(self, manifest: Manifest, folder: Path) -> Path:
        """A day's file on this machine, verified; see `fetch_day`. One that is damaged is noted to be so."""
        try:
            return fetch_day(self.store, manifest, folder)
        except ArchiveDamagedError:
            manifests.mark_damaged(self._engine, manifest)
            raise

    def verify(self, manifest: Manifest) -> None:
        """Read all of a day's file. One that is not what was written raises ArchiveDamagedError, and is noted."""
        try:
            verify(self.store, manifest)
        except ArchiveDamagedError:
            manifests.mark_damaged(self._engine, manifest)
            raise

    def remove_leftovers(self, left_for: timedelta = LEFT_FOR) -> int:
        """Remove the files that no manifest has named for so long; returns how many. What cannot be removed waits."""
        removed = 0
        with transaction(self._engine, read_only=True) as connection:
            paths = manifests.old_leftovers(connection, left_for)
        for path in paths:
            try:
                with transaction(self._engine) as connection:  # together: a run that is about to name it must wait
                    if manifests.forget_leftover(connection, path):
                        self.store.remove(path)
                        removed += 1
            except ArchiveUnavailableError as error:
                logger.warning("%s", error)
        return removed
