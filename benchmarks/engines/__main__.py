"""`python -m benchmarks.engines`, or `make bench-engines`: archived rows to published hours, engine by engine.

The database is an embedded PostgreSQL with the product's settings, the archive a folder beside it; each publish is a
process of its own and starts from a checkpoint. A full run rewrites its table of docs/benchmarks.md.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.batch.history import unpublish
from benchmarks.batch.steady import python
from benchmarks.engines.history import History, fill, repeat
from benchmarks.engines.publisher import BARE, SPARK_MB
from benchmarks.log import say
from benchmarks.observations import TIMEZONE, make_city
from benchmarks.report import Row, markdown, plain, replace_between, summary_table, with_spread
from benchmarks.servers import EMPTY, Database, make_template, running_postgres
from benchmarks.speed import PAGE
from benchmarks.stamp import machine, server
from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.place import Place
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine
from lambda_pipeline_tests.integration.spark_cluster import running_cluster

ENGINES = ("duckdb", "spark", "spark cluster")
POSTGRES = "postgres"
LOCAL = "local[*]"
Figures = Mapping[str, Sequence[float]]


def main() -> None:
    """Fill, measure, print, and after a full run write the page."""
    options = _options()
    figures: dict[str, list[float]] = defaultdict(list)
    with _filled(options) as (history, home), _cluster(history, options) as cluster:
        for number in range(options.runs):
            for name, days in _cases(options):
                for what, figure in _measure(history, home, name, days, cluster).items():
                    figures[f"{name}.{days}.{what}"].append(figure)
                seconds, bare = figures[f"{name}.{days}.seconds"][-1], figures.get(f"{name}.{days}.bare", [0])[-1]
                say(f"round {number + 1}, {name}, {days} days: {seconds:.1f} s, the engine alone {bare:.1f} s")
        stamp = [
            f"{machine(options.runs)}, lowest to highest in parentheses.",
            server(history.database),
            f"Days of {options.locations:,} locations, {history.rows_a_day:,} rows each; {options.in_postgres} of them "
            "in `raw_data` too, the others the first day's rows again, in the archive alone.",
        ]
        table = summary_table(goal_rows(figures, history.rows_a_day, options.days))
    print(plain(table))
    print("\n".join(stamp))
    if not options.quick:
        text = "\n".join([*(f"- {line}" for line in stamp), "", markdown(table)])
        PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), "engines", text), encoding="utf-8")
        say(f"wrote {PAGE}")


def goal_rows(figures: Figures, rows_a_day: int, days: Sequence[int]) -> list[Row]:
    """The figures as the table of goals. Pure."""
    rows = []
    for name in (name for name in ENGINES if f"{name}.{days[0]}.seconds" in figures):
        for count in days:
            seconds, beside = figures[f"{name}.{count}.seconds"], figures.get(f"{POSTGRES}.{count}.seconds", ())
            if name == "duckdb":
                alone = f"alone {with_spread(figures[f'{name}.{count}.bare'], ' s', 1)}"
            else:
                alone = f"aggregating and landing {with_spread(figures[f'{name}.{count}.engine_seconds'], ' s', 1)}; "
                alone += f"its start apart, {with_spread(figures[f'{name}.{count}.start'], ' s', 1)}"
            if beside:
                alone = f"PostgreSQL {with_spread(beside, ' s', 1)}; {name} {alone}"
            is_goal = name == "duckdb" and 15_000_000 < count * rows_a_day < 25_000_000
            rows.append(
                Row(
                    f"{count * rows_a_day / 1e6:,.1f} million archived rows to published hours, {name}",
                    with_spread(seconds, " s", 1), alone,
                    f"{median(beside) / median(seconds):.1f} times as fast" if beside else "",
                    "under 10 s" if is_goal else "", median(seconds) < 10 if is_goal else None,
                )
            )  # fmt: skip
        few, many = days[0], days[-1]
        if len(days) > 1:
            slope = median(figures[f"{name}.{many}.seconds"]) / median(figures[f"{name}.{few}.seconds"]) / (many / few)
            memory = median(figures[f"{name}.{many}.mib"]) / median(figures[f"{name}.{few}.mib"])
            rows += [
                Row(f"{name}, {many / few:g} times the rows, time for each row", f"{slope:.2f} times", "", "",
                    "close to linear: 1.2 or less", slope <= 1.2),
                Row(f"{name}, memory of the process", with_spread(figures[f"{name}.{many}.mib"], " MiB"),
                    f"{few} days {with_spread(figures[f'{name}.{few}.mib'], ' MiB')}", f"{memory:.2f}",
                    "flat: 1.1 or less", memory <= 1.1),
            ]  # fmt: skip
            if any(java := figures.get(f"{name}.{many}.java", ())):
                rows.append(
                    Row(f"{name}, its largest Java process", with_spread(java, " MiB"),
                        f"{few} days {with_spread(figures[f'{name}.{few}.java'], ' MiB')}", "",
                        f"an executor's {SPARK_MB} MiB and Java's own for all", None)
                )  # fmt: skip
    locked = [key for key in figures if key.endswith(".longest")]
    longest = max(max(figures[key]) for key in locked)
    return [*rows, Row("lock held by a swap, longest", f"{longest:,.0f} ms", "", "", "under 500 ms", longest < 500)]


def _cases(options: argparse.Namespace) -> list[tuple[str, int]]:
    return [
        (name, days) for days in options.days for name in (POSTGRES, *options.engines)
        if name != POSTGRES or days <= options.in_postgres
    ]  # fmt: skip


def _measure(history: History, home: str, name: str, days: int, cluster: str) -> dict[str, float]:
    with history.database.connect() as connection:
        unpublish(connection)
    engine, master = (name.split(maxsplit=1)[0], cluster if name == "spark cluster" else LOCAL)
    arguments = [engine, master, str(days), history.database.url("lambda_writer"), str(history.archive.store.place)]
    found: dict[str, Any] = _run([*arguments, TIMEZONE], home)
    if (found["rows"], found["hours"]) != (days * history.rows_a_day, days * 24):
        raise RuntimeError(f"{days} days of {history.rows_a_day:,} rows were to be published by {name}: {found}.")
    say(f"{name}, {days} days: {found}")
    if name == "duckdb":
        found["bare"] = _run([*arguments, BARE], home)["seconds"]
    return {key: value for key, value in found.items() if not isinstance(value, str)}


def _run(arguments: list[str], home: str) -> dict[str, Any]:
    said = python(["-m", "benchmarks.engines.publisher", *arguments], {"LAMBDA_HOME": home})
    found: dict[str, Any] = json.loads(said)
    return found


@contextmanager
def _filled(options: argparse.Namespace) -> Iterator[tuple[History, str]]:
    """A database and an archive of the most days that are asked for; both are gone afterwards."""
    with running_postgres() as (home, postgres):
        make_template(postgres, make_city(options.locations))
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("create database bench_engines template {}").format(sql.Identifier(EMPTY)))
        database = Database(postgres, "bench_engines")
        engine = make_engine(database.url("lambda_writer"), "benchmark", BATCH_TIMEOUTS)
        archive = Archive(engine, Place("folder", str(home.path / "archive")))
        history = History(database, engine, archive, options.locations)
        try:
            fill(history, options.in_postgres)
            repeat(history, max(options.days))
            with database.connect() as connection:
                connection.execute("vacuum (analyze) raw_hours")
            yield history, str(home.path)
        finally:
            engine.dispose()


@contextmanager
def _cluster(history: History, options: argparse.Namespace) -> Iterator[str]:
    """The address of a Spark cluster of a master and two workers with a processor each, if it is asked for."""
    if "spark cluster" not in options.engines:
        yield ""
        return
    folder = Path(str(history.archive.store.place.root)).parent / "cluster"
    folder.mkdir()
    with running_cluster(folder, memory_mb=SPARK_MB) as cluster:
        yield cluster.url


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--locations", type=int, help="locations of the city (10,000)")
    parser.add_argument("--days", type=int, nargs="+", help="archived days of each case (1 2 7 35)")
    parser.add_argument("--in-postgres", type=int, help="so many of them also in raw_data (7)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="beside PostgreSQL (all)")
    parser.add_argument("--runs", type=int, help="rounds, of which the median counts (3)")
    parser.add_argument("--quick", action="store_true", help="a smaller city and one round; writes no page")
    options = parser.parse_args()
    options.locations = options.locations or (1_000 if options.quick else 10_000)
    options.days = sorted(options.days or ([1, 2] if options.quick else [1, 2, 7, 35]))
    options.in_postgres = options.in_postgres or min(7, max(options.days))
    options.runs = options.runs or (1 if options.quick else 3)
    return options


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
