"""A publish as a process of its own, so that its memory is its own: `-m benchmarks.batch.publisher URL HOURS TIMEZONE`.

Publishes the first HOURS stale hours with the product's code and prints one line of JSON.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import date

import sqlalchemy as sa

from benchmarks.batch.instruments import lock_times, peak_mib, private_peak, processor_seconds
from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction

_ALL = date(2000, 1, 1), date(2100, 1, 1)


@dataclass(frozen=True)
class Published:
    """Seconds of wall and of processor time, MiB at the highest, and milliseconds that each swap held the lock."""

    hours: int
    rows: int
    moved: int
    seconds: float
    own_cpu: float
    backend_cpu: float
    own_mib: float
    backend_mib: float
    locks: list[float]

    @property
    def cpu(self) -> float:
        """Of the process and of its backend."""
        return self.own_cpu + self.backend_cpu


def run(url: str, hours: int, timezone: str) -> Published:
    """Publish in this process."""
    engine = make_engine(url, "benchmark", BATCH_TIMEOUTS, pool_size=1)
    try:
        with transaction(engine) as connection:
            pid = int(connection.execute(sa.text("select pg_backend_pid()")).scalar_one())
        with lock_times(engine) as locks, private_peak(pid) as backend:
            started, own, server = time.perf_counter(), time.process_time(), processor_seconds(pid)
            done = publish_hours(engine, hours_to_publish(engine, *_ALL)[:hours], timezone, "benchmark")
            seconds = time.perf_counter() - started
            cpu = time.process_time() - own, processor_seconds(pid) - server
    finally:
        engine.dispose()
    return Published(done.hours, done.rows, done.moved, seconds, *cpu, peak_mib(), backend[0], locks)


if __name__ == "__main__":
    print(json.dumps(asdict(run(sys.argv[1], int(sys.argv[2]), sys.argv[3]))))
