"""`python -m benchmarks`: a short look at both layers' transactions; `benchmarks.speed` measures the daemon."""

import platform
import statistics
from datetime import UTC, datetime

from benchmarks.commit_path import bench_commit, bench_plain_copy
from benchmarks.observations import Stream, make_city
from benchmarks.publish import bench_publish
from benchmarks.report import ratios
from benchmarks.servers import running_servers

RUNS = 3
LOCATIONS = 1_000
BATCH, BATCHES = 2_000, 50
RAW_ROWS = 200_000


def main() -> None:
    """Run everything and print one table."""
    print(f"Python {platform.python_version()}, {platform.machine()}; medians of {RUNS} runs")
    city = make_city(LOCATIONS)
    stream = Stream(city, datetime(2025, 6, 1, tzinfo=UTC))
    commit, copy, publish = [], [], []
    with running_servers(city) as servers:
        for _ in range(RUNS):
            commit.append(bench_commit(servers, stream, BATCH, BATCHES))
            copy.append(bench_plain_copy(servers, stream, BATCH, BATCHES))
            publish.append(bench_publish(servers, RAW_ROWS))
    ours, bare = zip(*publish, strict=True)
    _print(f"speed commit, {BATCH} a batch", "plain COPY", commit, copy, "observations/s")
    _print("publish of raw rows", "one bare aggregation", ours, bare, "rows/s")


def _print(ours: str, other: str, rates: list[float], beside: list[float], unit: str) -> None:
    rate, against = statistics.median(rates), statistics.median(beside)
    ratio = statistics.median(ratios(rates, beside))
    print(f"{ours:<32} {rate:>12,.0f} {unit:<16} {other:<22} {against:>12,.0f}   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
