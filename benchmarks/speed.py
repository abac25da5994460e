"""`python -m benchmarks.speed`, or `make bench-speed`: the speed daemon as a user starts it, beside what it is to beat.

Everything runs on the embedded servers in a temporary home; the measurements take turns, round by round, so that what
disturbs the machine disturbs all of them. A full run rewrites the tables of docs/benchmarks.md.
"""

import argparse
import json
import os
import platform
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.load import load_topic
from benchmarks.log import say
from benchmarks.measurements import MEASUREMENTS, NEEDED, QUICK, Bench, Scale
from benchmarks.observations import Stream, make_city
from benchmarks.peers_run import bench_python
from benchmarks.profile import Profile, run_profile
from benchmarks.report import Table, markdown, plain, replace_between, summary_table
from benchmarks.servers import Servers, running_servers
from benchmarks.summary import client_note, goal_rows, notes, profile_tables

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
PROFILE = "profile"
_EVENT_HOURS = 6  # before now: the stream's five hours of event time lie in the past when it is produced
_SERVER_SETTINGS = ("fsync", "synchronous_commit", "shared_buffers", "max_wal_size", "wal_compression")


def main() -> None:
    """Measure, print, and after a full run write the page."""
    options = _options()
    scale = QUICK if options.quick else Scale()
    names = [name for name in [*MEASUREMENTS, PROFILE] if not options.only or name in _with_needed(options.only)]
    city = make_city(scale.locations)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    stream = Stream(city, hour - timedelta(hours=_EVENT_HOURS))
    figures: dict[str, list[float]] = defaultdict(list)
    profile = None
    say(f"starting the servers, and producing {scale.records:,} observations of {scale.locations:,} locations")
    with running_servers(city) as servers:
        loaded = load_topic(servers.connection, servers.name("observations"), stream, scale.records)
        bench = Bench(servers, loaded, stream, scale, bench_python())
        if bench.peers is None:
            say("there is no .venv-bench (make bench-speed makes it): quixstreams and the C client are left out")
        for number in range(1 if options.quick else options.runs):
            for name in names:
                if name != PROFILE:
                    found = MEASUREMENTS[name](bench)
                    say(f"round {number + 1}, {name}: " + ", ".join(f"{key} {found[key]:,.2f}" for key in found))
                    for key, figure in found.items():
                        figures[key].append(figure)
        if PROFILE in names:
            profile = run_profile(servers, loaded, bench.peers.with_name("py-spy") if bench.peers else None)
        stamp = _stamp(servers, scale, len(figures.get("flood", ())) or 1)
    tables = _tables(dict(figures), profile)
    for table in tables:
        print(plain(table))
    print("\n".join(stamp))
    if profile is not None and options.hottest:
        print(json.dumps(profile.hottest, indent=1))
    if not (options.quick or options.only):
        text = "\n".join([*(f"- {line}" for line in stamp), "", *map(markdown, tables)])
        PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), "speed", text), encoding="utf-8")
        say(f"wrote {PAGE}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="rounds, of which the median counts (3)")
    parser.add_argument("--quick", action="store_true", help="a small round of everything; writes no page")
    parser.add_argument("--hottest", action="store_true", help="print the profile's hottest frames by thread as well")
    parser.add_argument(
        "--only", action="append", choices=[*MEASUREMENTS, PROFILE], help="only this one, repeatable; writes no page"
    )
    return parser.parse_args()


def _with_needed(names: list[str]) -> set[str]:
    return {*names, *(NEEDED[name] for name in names if name in NEEDED)}


def _tables(figures: dict[str, list[float]], profile: Profile | None) -> list[Table]:
    goals = summary_table(goal_rows(figures))
    said = (*notes(figures), *client_note(figures, profile))
    goals = Table(goals.heading, goals.columns, goals.rows, said)
    return [*([goals] if goals.rows else []), *(profile_tables(profile) if profile is not None else [])]


def _stamp(servers: Servers, scale: Scale, runs: int) -> list[str]:
    """When, on what, with which versions and settings."""
    memory = psutil.virtual_memory().total / 1024**3
    with servers.database() as database, database.connect() as connection:
        row = connection.execute("select " + ", ".join(f"current_setting('{name}')" for name in _SERVER_SETTINGS))
        settings = ", ".join(
            f"{name} {value}" for name, value in zip(_SERVER_SETTINGS, row.fetchone() or (), strict=True)
        )
        server = connection.info.server_version
    load = os.getloadavg()[2]
    ours = {name: value for name, value in os.environ.items() if name.startswith("LAMBDA_SPEED_")}
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GiB, "
        f"load average {load:.1f} over the last quarter of an hour; medians of {runs} rounds, lowest to highest in "
        "parentheses.",
        f"Python {platform.python_version()}, PostgreSQL {server // 10000}.{server % 10000} ({settings}), "
        f"kafka-python {version('kafka-python')}, psycopg {version('psycopg')}, msgspec {version('msgspec')}.",
        f"{scale.records:,} observations of {scale.locations:,} locations over {len(servers.city.locations):,} keys in "
        f"4 partitions, gzip; daemon settings {ours or 'as shipped'}.",
    ]


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
