"""`python -m benchmarks.serving`, or `make bench-serving`: every read of the serving layer at a big city's size, and
the page over it in a real browser.

The database is an embedded PostgreSQL with the product's settings. A full run rewrites its tables of
docs/benchmarks.md. With `--serve` nothing is measured: the server stays, for a dashboard or psql to look at.
"""

import argparse
import sys
import threading
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

from benchmarks.log import say
from benchmarks.observations import TIMEZONE
from benchmarks.report import Table, markdown, plain, replace_between, summary_table
from benchmarks.servers import Database
from benchmarks.serving import page
from benchmarks.serving.fill import Filled
from benchmarks.serving.place import filled_database
from benchmarks.serving.reads import Range, Read, reads_of, time_naive, time_read
from benchmarks.serving.tables import goal_rows, notes
from benchmarks.speed import PAGE
from benchmarks.stamp import machine, server
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.serving.layer import ServingLayer

ASKED = timedelta(days=31)  # of a longer history only the newest are asked for


def main() -> None:
    """Fill, then measure or serve."""
    options = _options()
    with filled_database(options.locations, options.days, options.keep, say) as (database, filled):
        held = ", ".join(f"{name} {rows:,}" for name, rows in filled.rows.items())
        say(held)
        if options.serve:
            print(f"LAMBDA_READER_DATABASE_URL={database.url('lambda_reader')}")
            print(f"DATABASE_URL={database.url('lambda_writer')}", flush=True)
            say("serving until Ctrl-C")
            threading.Event().wait()
        size = f"{options.days} days of {options.locations:,} locations: {held}."
        if not options.only:
            _measure_page(database, size, options)
        if options.page:
            return
        reads, figures = _measure(database, filled, options)
        stamp = [f"{machine(options.runs)} of {options.calls} calls each.", server(database), size]
    goals = summary_table(goal_rows(figures, reads))
    goals = Table(goals.heading, goals.columns, goals.rows, tuple(notes(figures, reads)))
    print(plain(goals))
    print("\n".join(stamp))
    if not (options.quick or options.only):
        _write("serving", stamp, goals)


def _measure_page(database: Database, size: str, options: argparse.Namespace) -> None:
    """The page in a browser: its own table."""
    with ServingLayer.open(database.url("lambda_reader"), "benchmark").snapshot() as view:
        names = sorted(view.get_combined_heatmap_data()["location"])
    figures = page.measure(database, names, options.views, say)
    if not figures:
        return
    rows = summary_table(page.page_rows(figures))
    table = Table("The page in a browser", rows.columns, rows.rows)
    print(plain(table))
    if not options.quick:
        _write("serving-page", [f"{machine(options.views)}.", server(database), size], table)


def _write(name: str, stamp: list[str], table: Table) -> None:
    text = "\n".join([*(f"- {line}" for line in stamp), "", markdown(table)])
    PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), name, text), encoding="utf-8")
    say(f"wrote {PAGE}")


def _measure(
    database: Database, filled: Filled, options: argparse.Namespace
) -> tuple[dict[str, Read], dict[str, list[float]]]:
    """Every read in rounds, each beside its statement alone; the naive ones once."""
    days = Range(max(filled.first, filled.until - ASKED), filled.until)
    layer = ServingLayer.open(database.url("lambda_reader"), "benchmark")
    values = days.values(CityClock(TIMEZONE))
    figures: dict[str, list[float]] = defaultdict(list)
    names = sorted(layer.get_combined_heatmap_data()["location"])
    reads = reads_of(filled, names, days)
    with database.connect("lambda_reader") as bare:
        for number in range(options.runs):
            for name, read in reads.items():
                if options.only and name not in options.only:
                    continue
                found = time_read(layer, bare, read, values, options.calls)
                if read.naive is not None and number == 0:  # takes half a minute
                    found["naive"] = time_naive(bare, read.naive, values)
                say(f"round {number + 1}, {name}: " + ", ".join(f"{key} {found[key]:,.1f}" for key in found))
                for key, figure in found.items():
                    figures[f"{name}.{key}"].append(figure)
    return reads, figures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--locations", type=int, help="locations of the city (10,000)")
    parser.add_argument("--days", type=int, help="days of hourly rows (30)")
    parser.add_argument("--calls", type=int, help="calls of a read in a round (40)")
    parser.add_argument("--runs", type=int, help="rounds, of which the median counts (3)")
    parser.add_argument("--views", type=int, help="views of the page, of which the median counts (5)")
    parser.add_argument("--page", action="store_true", help="only the page in a browser")
    parser.add_argument("--quick", action="store_true", help="a small round of everything; writes no page")
    parser.add_argument("--only", action="append", help="only the read of this name, repeatable; writes no page")
    parser.add_argument("--keep", type=Path, help="a folder for the database, kept and used again")
    parser.add_argument("--serve", action="store_true", help="measure nothing; print the addresses and wait")
    options = parser.parse_args()
    options.locations = options.locations or (500 if options.quick else 10_000)
    options.days = options.days or (3 if options.quick else 30)
    options.calls = options.calls or (5 if options.quick else 40)
    options.views = options.views or (1 if options.quick else 5)
    options.runs = options.runs or (1 if options.quick else 3)
    return options


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
