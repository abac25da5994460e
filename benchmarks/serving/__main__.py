"""`python -m benchmarks.serving`, or `make bench-serving`: every read of the serving layer at a big city's size.

The database is an embedded PostgreSQL with the product's settings. A full run rewrites its tables of
docs/benchmarks.md. With `--serve` nothing is measured: the server stays, for a dashboard or psql to look at.
"""

import argparse
import sys
import threading
import time
from pathlib import Path

from benchmarks.serving.place import filled_database


def main() -> None:
    """Fill, then measure or serve."""
    options = _options()
    with filled_database(options.locations, options.days, options.keep, _say) as (database, filled):
        _say(", ".join(f"{name} {rows:,}" for name, rows in filled.rows.items()))
        if options.serve:
            print(f"LAMBDA_READER_DATABASE_URL={database.url('lambda_reader')}")
            print(f"DATABASE_URL={database.url('lambda_writer')}", flush=True)
            _say("serving until Ctrl-C")
            threading.Event().wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--locations", type=int, default=10_000, help="locations of the city (10,000)")
    parser.add_argument("--days", type=int, default=30, help="days of hourly rows (30)")
    parser.add_argument("--keep", type=Path, help="a folder for the database, kept and used again")
    parser.add_argument("--serve", action="store_true", help="measure nothing; print the addresses and wait")
    return parser.parse_args()


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
