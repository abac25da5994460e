"""The first system's observations on their way into `raw_data`: judged by today's rules, none of them lost.

Set by set in SQL, in the upgrade's transaction. They become records of a log of their own, whose frontier is its end,
so that every hour of theirs is stale until it is published.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from lambda_pipeline.domain.catalogue import MAX_NAME_LENGTH, City, Location
from lambda_pipeline.domain.observation import MAX_AQI, MAX_FUTURE, MAX_SPEED
from lambda_pipeline.domain.traffic import MIN_FREE_FLOW
from lambda_pipeline.errors import SchemaError
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.deployment import claim, register_locations
from lambda_pipeline.storage.incoming import upsert_latest
from lambda_pipeline.storage.legacy_tables import OBSERVATIONS
from lambda_pipeline.storage.log_partitions import register_partitions
from lambda_pipeline.storage.sql import sql, sql_text

LEGACY_LOG = UUID(int=2**128 - 1)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # what is dated before comes from a clock that was not set
_BLOCKS = 4096  # of 8 KiB that one statement reads
_READ, _JUDGED = 0.4, 0.6  # shares of the work that are done after reading, and after judging

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Takeover:
    """What turns old rows into a city's: whose they are, and who is told of the progress (what is done, 0 to 1)."""

    city: City
    history_start: date
    on_progress: Progress = lambda _what, _share: None


@dataclass(frozen=True, slots=True)
class TableReport:
    """What became of the rows of one old table: rows = moved + joined + duplicates + rejected.

    `moved` made an observation, `joined` added to one or said the same, `duplicates` and `rejected` are kept aside.
    `mended`, of those moved or joined, had a measure out of range, which now counts as missing.
    """

    table: str
    rows: int
    moved: int
    joined: int
    duplicates: int
    rejected: int
    mended: int


@dataclass
class TakeoverReport:
    """What a takeover did. `first` and `last` are the city days of the oldest and newest observation."""

    tables: list[TableReport] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)
    first: date | None = None
    last: date | None = None

    @property
    def observations(self) -> int:
        """How many observations `raw_data` gained."""
        return sum(table.moved for table in self.tables)


def take_over(connection: sa.Connection, found: tuple[str, ...], takeover: Takeover) -> TakeoverReport:
    """Bring every row of the old tables, which lie in the schema `legacy`, into `raw_data`; in one's transaction.

    1. Read each table, each row judged by today's rules: which measures are valid, and whether it has a place at all.
    2. Find out what becomes of each: moved, joined, a duplicate, rejected.
    3. Claim the database for the city, its history beginning with the oldest row; register unknown locations.
    4. Keep duplicates and rejects whole; store the observations month by month, and move their log's frontier.
    5. Check that every row is accounted for.
    6. Bring `latest_observations` up to date.

    Raises SchemaError where a row would be lost, DeploymentMismatchError, CatalogueError.
    """
    locks.hold_raw(connection)
    tables = {number: name for number, name in enumerate(OBSERVATIONS, 1) if name in found}
    _read(connection, tables, takeover.on_progress)
    takeover.on_progress("comparing", _READ)
    connection.execute(sql("legacy/judge_rows"))
    connection.execute(sa.text("create index on judged_rows (timestamp) where fate in ('moved', 'joined')"))
    connection.execute(sa.text("analyze judged_rows"))
    for number in list(tables)[2:]:
        connection.execute(sql("legacy/join_compatible"), {"table_no": number})
    report = _count(connection, tables, takeover.city)
    claim(connection, takeover.city, min(takeover.history_start, report.first or takeover.history_start))
    report.locations = _register_unknown(connection)
    for number, name in tables.items():
        for statement in ("legacy/keep_duplicates", "legacy/keep_rejects"):
            connection.execute(_of_table(statement, name), {"table_no": number})
    _store(connection, report, takeover)
    return report


def _of_table(statement: str, table: str) -> sa.TextClause:
    """A statement on one of the old tables, whose names are ours to write into it."""
    return sa.text(sql_text(statement).replace("moved_table", table))


def _read(connection: sa.Connection, tables: dict[int, str], on_progress: Progress) -> None:
    connection.execute(sa.text("set local work_mem = '64MB'"))
    connection.execute(sql("legacy/create_old_rows"))
    size = sa.text("select pg_relation_size(cast(:name as regclass)) / current_setting('block_size')::integer")
    blocks = {
        number: int(connection.execute(size, {"name": f"legacy.{name}"}).scalar_one())
        for number, name in tables.items()
    }
    limits: dict[str, Any] = {
        "max_aqi": MAX_AQI,
        "max_speed": MAX_SPEED,
        "min_free_flow": MIN_FREE_FLOW,
        "max_name_length": MAX_NAME_LENGTH,
        "earliest": EARLIEST,
        "latest": datetime.now(UTC) + MAX_FUTURE,  # as with a file, the rows are appended to their log now
    }
    done, total = 0, max(1, sum(blocks.values()))
    for number, name in tables.items():
        statement = _of_table("legacy/read_rows", name)
        for start in range(0, blocks[number], _BLOCKS):
            on_progress(f"reading {name}", _READ * done / total)
            until = min(start + _BLOCKS, blocks[number])
            connection.execute(statement, {"table_no": number, "from_block": start, "to_block": until, **limits})
            done += until - start


def _count(connection: sa.Connection, tables: dict[int, str], city: City) -> TakeoverReport:
    counts = {row.table_no: row for row in connection.execute(sql("legacy/count_rows"))}
    report = TakeoverReport()
    for number, name in tables.items():
        row = counts.get(number)
        numbers = (row.rows, row.moved, row.joined, row.duplicates, row.rejected, row.mended) if row else (0,) * 6
        report.tables.append(TableReport(name, *numbers))
        held = connection.execute(sa.text(f"select count(*) from legacy.{name}")).scalar_one()  # noqa: S608
        if held != report.tables[-1].rows:
            raise SchemaError(f"{report.tables[-1].rows} of {held} rows of {name} were read. Nothing was changed.")
    clock = city.clock()
    moved = [row for row in counts.values() if row.moved]
    if moved:
        report.first = clock.city_date(min(row.first for row in moved))
        report.last = clock.city_date(max(row.last for row in moved))
    return report


def _register_unknown(connection: sa.Connection) -> list[str]:
    unknown = [Location(row.location, None, row.latitude, row.longitude)
               for row in connection.execute(sql("legacy/unknown_locations"))]  # fmt: skip
    register_locations(connection, unknown, "import")
    return sorted(location.name for location in unknown)


def _store(connection: sa.Connection, report: TakeoverReport, takeover: Takeover) -> None:
    partition = register_partitions(connection, LEGACY_LOG, "legacy", [0])[0].id
    names = list(OBSERVATIONS)
    stored = 0
    for month in connection.execute(sql("legacy/months")).all():
        share = _JUDGED + (1 - _JUDGED) * stored / max(1, report.observations)
        takeover.on_progress(f"storing {month.start:%B %Y}", share)
        connection.execute(sa.text("select ensure_raw_partition(:month)"), {"month": month.start})
        stored += connection.execute(
            sql("legacy/store_month"),
            {
                "timezone": takeover.city.timezone, "start": month.start, "until": month.until, "tables": names,
                "log_partition": partition, "first_offset": stored, "max_aqi": MAX_AQI,
            },
        ).scalar_one()  # fmt: skip
    if stored != report.observations:
        raise SchemaError(f"{stored} of {report.observations} observations would be stored. Nothing was changed.")
    connection.execute(sql("batch/move_frontier"), {"partition": partition, "offset": stored})
    connection.execute(sql("storage/create_incoming"))
    connection.execute(sql("legacy/newest_rows"), {"log_partition": partition})
    upsert_latest(connection)
    takeover.on_progress("done", 1.0)
