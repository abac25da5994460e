"""A publish by an engine as a process of its own: `-m benchmarks.engines.publisher ENGINE MASTER DAYS URL FOLDER ZONE`.

With BARE instead of a time zone the engine aggregates, and nothing lands. MASTER is Spark's. Prints one line of JSON.
"""

import json
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psutil
import sqlalchemy as sa

from benchmarks.batch.instruments import lock_times, peak_mib, private_peak
from benchmarks.engines.history import FIRST_DAY
from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.place import Place
from lambda_pipeline.batch.archived import ArchiveSource
from lambda_pipeline.batch.engines.choice import make_engine as make_archive_engine
from lambda_pipeline.batch.engines.engine import ArchiveEngine
from lambda_pipeline.batch.engines.spark import SparkEngine
from lambda_pipeline.batch.publish import ENGINE, hours_to_publish, publish_hours
from lambda_pipeline.resources import BatchEngineOptions
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction

BARE = "bare"


SPARK_MB = 1024  # MiB of each executor, and of the driver


def main(name: str, master: str, days: int, url: str, folder: str, timezone: str) -> dict[str, float | str | int]:
    """Seconds, the engine's start apart; MiB of this process, of its backend and of Spark's largest Java process."""
    engine = make_engine(url, "benchmark", BATCH_TIMEOUTS, pool_size=2)
    archive = Archive(engine, Place("folder", str(Path(folder))))
    until = FIRST_DAY + timedelta(days=days)
    hours = hours_to_publish(engine, FIRST_DAY, until, everything=timezone == BARE)
    manifests = archive.days(FIRST_DAY, until)
    if name == ENGINE:
        return _publish(engine, None, hours, timezone)
    started = time.perf_counter()
    options = BatchEngineOptions(name, spark_master=master, spark_memory_mb=SPARK_MB)
    with closing(make_archive_engine(name, options)) as made:
        start = time.perf_counter() - started
        if timezone != BARE:
            source = ArchiveSource(archive, made, [one.city_date for one in manifests])
            found = _publish(engine, source, hours, timezone)
            assert not source.used.fell_back, source.used
            used = {"start": start, "engine_seconds": source.used.seconds, "is": str(made.describe())}
            return found | used | {"java": max(_java_mib(made), default=0.0)}
        started = time.perf_counter()
        for manifest in manifests:
            mine = [hour.hour_start for hour in hours if hour.city_date == manifest.city_date]
            rows = sum(batch.num_rows for batch in made.aggregate(archive, [manifest], mine))
            assert rows
        return {"seconds": time.perf_counter() - started, "start": start, "mib": peak_mib()}


def _java_mib(made: ArchiveEngine) -> list[float]:
    """The most that each Java process that computes for Spark took: the driver if local, else the executors."""
    if not isinstance(made, SparkEngine):
        return []
    if made.run.is_local:
        return [peak_mib(made.run.gateway_pid)]
    port = f":{made.run.session.conf.get('spark.driver.port')}"
    lines = {one.pid: " ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])}
    return [peak_mib(pid) for pid, line in lines.items() if "CoarseGrainedExecutorBackend" in line and port in line]


def _publish(engine: sa.Engine, source: ArchiveSource | None, hours: list, timezone: str) -> dict:  # type: ignore[type-arg]
    with transaction(engine) as connection:
        pid = int(connection.execute(sa.text("select pg_backend_pid()")).scalar_one())
    with lock_times(engine) as locks, private_peak(pid) as backend:
        started = time.perf_counter()
        done = publish_hours(engine, hours, timezone, "benchmark", source=source)
        seconds = time.perf_counter() - started
    return {
        "seconds": seconds, "rows": done.rows, "hours": done.hours, "mib": peak_mib(), "backend": backend[0],
        "locks": sum(locks) / 1000, "longest": max(locks),
    }  # fmt: skip


if __name__ == "__main__":
    name, master, days, *others = sys.argv[1:]
    print(json.dumps(main(name, master, int(days), *others)))
