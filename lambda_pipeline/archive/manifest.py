"""Which file is a day's archive: one row of `raw_archives`, without which a file does not exist for anybody.

Stale is positional here too: `raw_hours` says what raw_data holds of a day, the manifest what its file covers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from lambda_pipeline.storage.engine import retrying, transaction
from lambda_pipeline.storage.sql import sql

SCHEMA_VERSION = 1
"""Of the files that this version writes; it reads all up to it."""
LEFT_FOR = timedelta(days=8)
"""How long a file that no manifest names is kept: nobody writes or reads one for so long, and no dump of the database
that names it is to be restored any more, being older than what Kafka keeps."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A day's file. `covered` maps log partitions to the first offset that is not in it."""

    city_date: date
    version: int
    path: str
    rows: int
    bytes: int
    checksum: str
    schema_version: int
    covered: Mapping[int, int]
    written_at: datetime
    verified_at: datetime | None
    run_id: str


def load_manifests(connection: sa.Connection, first: date, until: date) -> list[Manifest]:
    """The verified archives of the city days [first, until), in order. A day that is not among them has none."""
    found = map(_of_row, connection.execute(sql("archive/manifests"), {"first": first, "until": until}))
    return [one for one in found if one.verified_at is not None]


def find_manifest(connection: sa.Connection, day: date) -> Manifest | None:
    """The day's manifest, also one whose file was found damaged since."""
    values = {"first": day, "until": day + timedelta(days=1)}
    row = connection.execute(sql("archive/manifests"), values).one_or_none()
    return None if row is None else _of_row(row)


@dataclass(frozen=True, slots=True)
class StaleArchive:
    """A city day of which raw_data holds so many rows, and its archive others, none, or a damaged file."""

    day: date
    rows: int


def stale_archives(engine: sa.Engine, first: date, until: date, *, everything: bool = False) -> list[StaleArchive]:
    """City days of [first, until) whose archive is not what raw_data holds, in order; all that it holds on request."""
    values = {"first": first, "until": until, "schema_version": SCHEMA_VERSION, "all": everything}
    with transaction(engine, read_only=True) as connection:
        return [StaleArchive(*row) for row in connection.execute(sql("archive/stale_days"), values)]


def current_archives(connection: sa.Connection, first: date, until: date) -> list[Manifest]:
    """The city days of [first, until) whose archive is verified and, in this snapshot, exactly what raw_data holds."""
    values = {"first": first, "until": until, "schema_version": SCHEMA_VERSION, "all": False}
    stale = {row.city_date for row in connection.execute(sql("archive/stale_days"), values)}
    return [
        one for one in load_manifests(connection, first, until)
        if one.city_date not in stale and one.schema_version <= SCHEMA_VERSION
    ]  # fmt: skip


def replace_manifest(engine: sa.Engine, new: Manifest, before: Manifest | None) -> bool:
    """Make `new` the day's archive, in one transaction; False if another run did so since `before` was read.

    The file of before, if any, is left over from then on, and the new one no longer. False also if it was left over
    for so long that it was removed.
    """

    def replace() -> bool:
        with transaction(engine) as connection:
            if put_manifest(connection, new, before):
                return True
            connection.get_transaction().rollback()  # type: ignore[union-attr]
            return False

    return retrying(replace)


def put_manifest(connection: sa.Connection, new: Manifest, before: Manifest | None) -> bool:
    """Like `replace_manifest`, in the caller's transaction, which is to be rolled back if this is False."""
    values = {
        "city_date": new.city_date, "version": new.version, "path": new.path, "rows": new.rows, "bytes": new.bytes,
        "checksum": new.checksum, "schema_version": new.schema_version, "run_id": new.run_id,
        "covered": json.dumps(new.covered), "before": 0 if before is None else before.version,
    }  # fmt: skip
    is_kept = forget_leftover(connection, new.path)
    if not is_kept or connection.execute(sql("archive/replace_manifest"), values).one_or_none() is None:
        return False
    if before is not None:
        note_leftover(connection, before.path)
    return True


def mark_damaged(engine: sa.Engine, manifest: Manifest) -> None:
    """No reader relies on the day's file any more, and the next run writes it anew.

    Unless raw_data does not hold all of the day any more: there is nothing to write it from, and what is read of it is
    checked as it is read. Put back from a backup, it is what it was.
    """
    statement = sa.text(
        "update raw_archives set verified_at = null where city_date = :day and version = :version and not exists ("
        "select from raw_hours stored join raw_floor floor on stored.hour_start < floor.floor_at "
        "where stored.city_date = raw_archives.city_date)"
    )
    with transaction(engine) as connection:
        connection.execute(statement, {"day": manifest.city_date, "version": manifest.version})


def note_leftover(connection: sa.Connection, path: str) -> None:
    """A file that no manifest names, and that somebody is to remove if nobody says otherwise."""
    connection.execute(
        sa.text("insert into archive_leftovers (path) values (:path) on conflict do nothing"), {"path": path}
    )


def forget_leftover(connection: sa.Connection, path: str) -> bool:
    """A manifest names it, or it is removed in this transaction; False if somebody else did either before."""
    statement = sa.text("delete from archive_leftovers where path = :path")
    return bool(connection.execute(statement, {"path": path}).rowcount)


def old_leftovers(connection: sa.Connection, left_for: timedelta) -> Sequence[str]:
    """Files that were noted so long ago, by the database's clock."""
    query = sa.text("select path from archive_leftovers where noted_at <= now() - cast(:age as interval) order by path")
    return list(connection.execute(query, {"age": left_for}).scalars())


def _of_row(row: sa.Row[Any]) -> Manifest:
    values = dict(row._mapping)
    covered = {int(key): int(offset) for key, offset in values.pop("covered").items()}  # JSON's keys are text
    return Manifest(covered=covered, **values)
