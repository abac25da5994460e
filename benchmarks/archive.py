"""`python -m benchmarks.archive`, or `make bench-archive`: what a day of a big city takes as Parquet and in PostgreSQL,
and how long it takes to write and to read.

The database is an embedded PostgreSQL with the product's settings, the archive a folder beside it. A full run rewrites
its table of docs/benchmarks.md.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from typing import TypeVar

import psycopg
from psycopg import sql

from benchmarks.batch.history import HOUR, PER_HOUR, fill_history
from benchmarks.batch.instruments import peak_mib
from benchmarks.log import say
from benchmarks.observations import make_city
from benchmarks.report import Row, markdown, plain, ratios, replace_between, summary_table, with_spread
from benchmarks.servers import EMPTY, Database, make_template, running_postgres
from benchmarks.speed import PAGE
from benchmarks.stamp import machine, server
from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import Manifest
from lambda_pipeline.archive.place import Place
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine
from lambda_pipeline.storage.sql import sql_text

Figures = Mapping[str, Sequence[float]]
T = TypeVar("T")
DAY = date(2025, 6, 8)
START = datetime(2025, 6, 7, 17, tzinfo=UTC)  # its midnight in the city
AGGREGATED = ("location", "hour_start", "aqi_value", "traffic_level", "current_speed", "congestion_ratio")
_SIZES = """
select sum(pg_table_size(inhrelid)), sum(pg_indexes_size(inhrelid))
from pg_inherits where inhparent = 'raw_data'::regclass
"""


def main() -> None:
    """Fill, measure, print, and after a full run write the page."""
    options = _options()
    figures: dict[str, list[float]] = defaultdict(list)
    with _filled(options.locations) as (database, folder):
        engine = make_engine(database.url("lambda_writer"), "benchmark", BATCH_TIMEOUTS)
        archive = Archive(engine, Place("folder", str(folder)))
        for number in range(options.runs):
            for name, figure in _measure(database, archive, options.locations).items():
                figures[name].append(figure)
            say(f"round {number + 1}: " + ", ".join(f"{name} {of[-1]:,.2f}" for name, of in figures.items()))
        engine.dispose()
        stamp = [
            f"{machine(options.runs)}, lowest to highest in parentheses.",
            server(database),
            f"A day of {options.locations:,} locations, {PER_HOUR} observations an hour each, made up out of "
            "few distinct values, which compress better than a real city's. PostgreSQL's indexes were built at once, "
            "as small as they get.",
        ]
    table = summary_table(goal_rows(figures))
    print(plain(table))
    print("\n".join(stamp))
    if not options.quick:
        text = "\n".join([*(f"- {line}" for line in stamp), "", markdown(table)])
        PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), "archive", text), encoding="utf-8")
        say(f"wrote {PAGE}")


def goal_rows(figures: Figures) -> list[Row]:
    """The figures as the table of goals. Pure."""
    rows, smaller = figures["rows"][0], median(ratios(figures["bytes.table"], figures["bytes"]))
    million = [seconds / rows * 1e6 for seconds in figures["write"]]
    return [
        Row(
            "an observation in the archive",
            with_spread(figures["bytes"], " bytes", 1),
            f"in PostgreSQL {median(figures['bytes.table']):,.0f} bytes, {median(figures['bytes.indexes']):,.0f} of "
            "them in indexes",
            f"{smaller:.1f} times smaller", "10 times smaller or better", smaller >= 10,
        ),
        Row(
            f"archive a day of {rows:,.0f} rows, read back and visible", with_spread(figures["write"], " s", 1),
            f"COPY of the same rows in the same order {with_spread(figures['copy'], ' s', 1)}",
            f"{median(ratios(figures['write'], figures['copy'])):.2f}",
        ),
        Row("a million rows of it", with_spread(million, " s", 1)),
        Row("memory of the process that does, highest", f"{max(figures['memory']):,.0f} MiB"),
        Row("read the columns of an aggregation", with_spread(figures["read"], " s", 2)),
        Row("read one location", with_spread([seconds * 1000 for seconds in figures["read.one"]], " ms")),
    ]  # fmt: skip


def _measure(database: Database, archive: Archive, locations: int) -> dict[str, float]:
    manifest, write = _timed(lambda: archive.write(DAY, "benchmark"))
    assert manifest is not None
    memory = peak_mib()
    archive.remove_leftovers(HOUR * 0)
    place = f"Kelurahan {locations // 2:05}"
    _rows(archive, manifest, [place])  # what Arrow loads at the first choice of a location is not measured
    read = _timed(lambda: _rows(archive, manifest))[1]
    found, one = _timed(lambda: _rows(archive, manifest, [place]))
    assert found == 24 * PER_HOUR, found
    with database.connect() as connection:
        table, indexes = (float(size) for size in connection.execute(_SIZES).fetchone() or (0, 0))
        copy = _timed(lambda: _copy(connection))[1]
    rows = manifest.rows
    return {
        "rows": rows, "write": write, "memory": memory, "bytes": manifest.bytes / rows, "read": read, "read.one": one,
        "bytes.table": (table + indexes) / rows, "bytes.indexes": indexes / rows, "copy": copy,
    }  # fmt: skip


def _rows(archive: Archive, manifest: Manifest, places: Sequence[str] | None = None) -> int:
    return sum(batch.num_rows for batch in archive.read(manifest, AGGREGATED, places))


def _copy(connection: psycopg.Connection) -> None:
    """The least that it could take: the same statement, its rows thrown away."""
    values = {"day": DAY, "start_at": START, "end_at": START + 24 * HOUR}
    statement = sql_text("archive/read_day")
    for name in values:
        statement = statement.replace(f":{name}", f"%({name})s")
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(sql_text("batch/plan_by_index").encode())
        with cursor.copy(f"copy ({statement}) to stdout (format csv)".encode(), values) as copy:
            for _ in copy:
                pass


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    found = work()
    return found, time.perf_counter() - started


@contextmanager
def _filled(locations: int) -> Iterator[tuple[Database, Path]]:
    """A database with the day in it, and a folder for its archive; both are gone afterwards."""
    with running_postgres() as (home, postgres):
        make_template(postgres, make_city(locations))
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("create database bench_archive template {}").format(sql.Identifier(EMPTY)))
        database = Database(postgres, "bench_archive")
        say(f"filling a day of {locations:,} locations")
        fill_history(database, START, 24)
        yield database, home.path / "archive"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive", description=__doc__)
    parser.add_argument("--locations", type=int, help="locations of the city (10,000)")
    parser.add_argument("--runs", type=int, help="rounds, of which the median counts (3)")
    parser.add_argument("--quick", action="store_true", help="a smaller city and one round; writes no page")
    options = parser.parse_args()
    options.locations = options.locations or (1_000 if options.quick else 10_000)
    options.runs = options.runs or (1 if options.quick else 3)
    return options


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
