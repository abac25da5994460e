"""A backfill through Dagster as a process of its own: `-m benchmarks.batch.years_run FIRST DAYS`.

Runs it in the environment that it finds and prints one line of JSON: seconds and MiB.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

from benchmarks.batch.instruments import peak_mib
from lambda_pipeline.automation.backfill import run_backfill
from lambda_pipeline.batch import assets
from lambda_pipeline.settings import load_settings

_WORK = ("advance_raw_data", "hours_to_publish", "publish_hours", "compute_days")


def main(first: str, days: str) -> None:
    """Run the backfill in this process."""
    start = date.fromisoformat(first)
    city = load_settings().city
    with _work() as spent:
        before, started = peak_mib(), time.perf_counter()
        run_backfill(city, start, start, start + timedelta(days=int(days)))
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "work": spent[0], "mib": peak_mib(), "growth": peak_mib() - before}))


@contextmanager
def _work() -> Iterator[list[float]]:
    """Seconds that the assets spend in the batch layer's own code; the rest is Dagster's."""
    spent = [0.0]

    def timed(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return real(*arguments, **options)
            finally:
                spent[0] += time.perf_counter() - started

        return call

    for name in _WORK:
        setattr(assets, name, timed(getattr(assets, name)))
    yield spent


if __name__ == "__main__":
    main(*sys.argv[1:])
