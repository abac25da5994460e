"""`python -m benchmarks.batch`, or `make bench-batch`: the batch layer beside bare SQL and the first system's.

Everything runs on the embedded servers with the product's settings in a temporary home. A full run rewrites the tables
of docs/benchmarks.md.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from benchmarks.batch.bare import aggregate, first_system
from benchmarks.batch.beside import bench_beside
from benchmarks.batch.history import END, HOUR, PER_HOUR, fill_history, unpublish
from benchmarks.batch.lock import bench_lock
from benchmarks.batch.publisher import Published
from benchmarks.batch.readers import bench_readers
from benchmarks.batch.steady import bench_run, bench_work, python
from benchmarks.batch.tables import goal_rows, notes
from benchmarks.batch.years import bench_years
from benchmarks.load import LoadedTopic, load_topic
from benchmarks.log import say
from benchmarks.observations import TIMEZONE, Stream, make_city
from benchmarks.report import Table, markdown, plain, replace_between, summary_table
from benchmarks.servers import Database, Servers, running_servers
from benchmarks.speed import PAGE
from benchmarks.stamp import machine, server

_FIRST_SAMPLES = 3  # hours that the first system's SQL is measured on
Figures = dict[str, float]


@dataclass
class Bench:
    """The servers, the database that holds the history, and how much is measured."""

    servers: Servers
    database: Database
    rows: int
    hours: int
    flood_records: int
    lags: tuple[int, ...]
    years: tuple[int, ...]
    next_hour: datetime = END
    flood: LoadedTopic | None = None
    backlog: LoadedTopic | None = None
    done: set[str] = field(default_factory=set)

    @property
    def start(self) -> datetime:
        """The first hour of the history."""
        return END - self.hours * HOUR

    def take_hour(self) -> datetime:
        """The next hour after everything that is there."""
        hour, self.next_hour = self.next_hour, self.next_hour + HOUR
        return hour

    def publish(self, hours: int) -> Published:
        """Publish the first stale hours in a process of its own."""
        environment = {"LAMBDA_HOME": str(self.servers.home.path)}
        arguments = [self.database.url(), str(hours), TIMEZONE]
        return Published(**json.loads(python(["-m", "benchmarks.batch.publisher", *arguments], environment)))

    def unpublish(self) -> None:
        """As if nothing had been published, from a checkpoint."""
        with self.database.connect() as connection:
            unpublish(connection)


def backfill(bench: Bench) -> Figures:
    """All hours: published, and aggregated by bare SQL in three ways, each from the same state."""
    figures: Figures = {}
    for name, target, at_once in (
        ("bare.same", "same", False),
        ("bare.keyed", "keyed", False),
        ("bare.once", "same", True),
    ):
        bench.unpublish()
        with bench.database.connect() as connection:
            found = aggregate(connection, bench.start, bench.hours, target, at_once=at_once)  # type: ignore[arg-type]
        figures |= {name: found.seconds, f"{name}.cpu": found.cpu}
    with bench.database.connect() as connection:
        found = first_system(connection, bench.start, bench.hours, _FIRST_SAMPLES)
    figures |= {"first": found.seconds, "first.cpu": found.cpu}
    bench.unpublish()
    ours = bench.publish(bench.hours)
    if (ours.hours, ours.rows) != (bench.hours, bench.rows):
        raise RuntimeError(f"{bench.hours} hours of {bench.rows} rows were to be published: {ours}.")
    return figures | {
        "publish": ours.seconds,
        "publish.rows": ours.rows,
        "publish.cpu": ours.cpu,
        "publish.own_cpu": ours.own_cpu,
        "lock.backfill.median": statistics.median(ours.locks),
        "lock.backfill.max": max(ours.locks),
        "memory.many": ours.own_mib,
        "memory.backend.many": ours.backend_mib,
    }


def memory(bench: Bench) -> Figures:
    """A quarter of the hours: what `backfill` measured of all of them is compared with it."""
    bench.unpublish()
    found = bench.publish(bench.hours // 4)
    bench.publish(bench.hours)
    return {"memory.few": found.own_mib, "memory.backend.few": found.backend_mib, "memory.hours": bench.hours}


def lock(bench: Bench) -> Figures:
    """The swap of the last hour, whatever the speed layer holds of it."""
    bench.publish(bench.hours)
    return bench_lock(bench.database, END - HOUR, PER_HOUR * len(bench.servers.city.locations))


def steady(bench: Bench) -> Figures:
    """An hour that arrives after all others are published."""
    bench.publish(bench.hours)
    figures = bench_work(bench.servers, bench.database, bench.take_hour())
    return figures | bench_run(bench.servers, bench.database, bench.take_hour())


def beside(bench: Bench) -> Figures:
    """The speed daemon while hours are published."""
    if bench.flood is None:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        stream = Stream(bench.servers.city, hour - timedelta(hours=6))
        bench.flood = load_topic(bench.servers.connection, bench.servers.name("flood"), stream, bench.flood_records)
    return bench_beside(bench.servers, bench.flood, bench.database, bench.start, bench.hours)


def readers(bench: Bench) -> Figures:
    """A backlog of the log, by one process and by two."""
    if bench.backlog is None:
        stream = Stream(bench.servers.city, END + timedelta(days=30))
        bench.backlog = load_topic(bench.servers.connection, bench.servers.name("backlog"), stream, bench.lags[-1])
    return bench_readers(bench.servers, bench.backlog, bench.lags)


def years(bench: Bench) -> Figures:
    """Backfills through Dagster; once, since nothing runs beside them."""
    if "years" in bench.done:
        return {}
    bench.done.add("years")
    figures: Figures = {}
    for days in bench.years:
        figures |= bench_years(bench.servers, days)
    return figures


MEASUREMENTS: dict[str, Callable[[Bench], Figures]] = {
    "backfill": backfill, "memory": memory, "lock": lock, "steady": steady, "readers": readers,
    "beside": beside, "years": years,
}  # fmt: skip


def main() -> None:
    """Measure, print, and after a full run write the page."""
    options = _options()
    names = [name for name in MEASUREMENTS if not options.only or name in options.only]
    if "memory" in names and "backfill" not in names:
        names.insert(0, "backfill")
    city = make_city(10_000)
    hours = max(
        4, options.rows // (PER_HOUR * len(city.locations)) + (options.rows % (PER_HOUR * len(city.locations)) > 0)
    )
    figures: dict[str, list[float]] = defaultdict(list)
    with running_servers(city) as servers:
        database = servers.make_database(servers.name("bench_history"))
        say(f"filling raw_data with {hours} hours of {PER_HOUR * len(city.locations):,} rows")
        rows = fill_history(database, END - hours * HOUR, hours) if {*names} - {"years", "readers"} else 0
        quick = options.quick
        bench = Bench(
            servers, database, rows, hours, 150_000 if quick else 1_000_000,
            (1_000, 60_000) if quick else (1_000, 120_000, 300_000, 600_000), (10, 40) if quick else (365, 1461),
        )  # fmt: skip
        for number in range(options.runs):
            for name in names:
                found = MEASUREMENTS[name](bench)
                say(f"round {number + 1}, {name}: " + ", ".join(f"{key} {found[key]:,.2f}" for key in found))
                for key, figure in found.items():
                    figures[key].append(figure)
        stamp = _stamp(database, rows, len(city.locations), options.runs)
    goals = summary_table(goal_rows(figures))
    goals = Table(goals.heading, goals.columns, goals.rows, tuple(notes(figures)))
    print(plain(goals))
    print("\n".join(stamp))
    if not (options.quick or options.only):
        text = "\n".join([*(f"- {line}" for line in stamp), "", markdown(goals)])
        PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), "batch", text), encoding="utf-8")
        say(f"wrote {PAGE}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("--rows", type=int, help="raw rows of the history (20,000,000), in whole hours of 120,000")
    parser.add_argument("--runs", type=int, help="rounds, of which the median counts (3)")
    parser.add_argument("--quick", action="store_true", help="a small round of everything; writes no page")
    parser.add_argument("--only", action="append", choices=[*MEASUREMENTS], help="only this one, repeatable; no page")
    options = parser.parse_args()
    options.rows = options.rows or (960_000 if options.quick else 20_000_000)
    options.runs = options.runs or (1 if options.quick else 3)
    return options


def _stamp(database: Database, rows: int, locations: int, runs: int) -> list[str]:
    """When, on what, with which versions and settings."""
    return [
        f"{machine(runs)}, lowest to highest in parentheses.",
        server(database),
        f"{rows:,} raw rows of {locations:,} locations, {PER_HOUR} an hour each, with indexes that were built at once.",
    ]


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
