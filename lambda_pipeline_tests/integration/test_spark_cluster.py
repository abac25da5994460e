"""Spark on a real cluster: other processes compute, some of which die."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import SCHEMA_VERSION, Manifest
from lambda_pipeline.archive.place import Place
from lambda_pipeline.archive.schema import SCHEMA as RAW
from lambda_pipeline.archive.schema import described
from lambda_pipeline.batch.engines.dialect import VIEW, aggregation
from lambda_pipeline.batch.engines.engine import SCHEMA
from lambda_pipeline.batch.engines.spark import SparkEngine
from lambda_pipeline.errors import EngineError
from lambda_pipeline_tests.integration.spark_cluster import EXECUTOR_MB, Cluster, running_cluster
from lambda_pipeline_tests.processes import wait_for

pytestmark = pytest.mark.integration
FIRST = date(2025, 6, 2)
DAYS = 12
PLACES = 200
ROWS = PLACES * 24 * 60  # a day: one a minute


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path / "cluster") as made:
        yield made


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[SparkEngine]:
    made = SparkEngine(cluster.url, memory_mb=EXECUTOR_MB, lost_after=timedelta(seconds=3))
    try:
        wait_for(lambda: made.run.executors() == 2, "both workers run an executor", 60.0)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Days that no database knows."""
    return Archive(sa.create_engine("sqlite://"), Place("folder", str(tmp_path_factory.mktemp("archive"))))


@pytest.fixture(scope="module")
def manifests(archive: Archive) -> list[Manifest]:
    return [written(archive, FIRST + timedelta(days=number)) for number in range(DAYS)]


def written(archive: Archive, day: date) -> Manifest:
    """A day of random observations, by location and time."""
    random = np.random.default_rng(day.toordinal())
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    minutes = np.tile(np.arange(24 * 60), PLACES)
    at = np.datetime64(start.replace(tzinfo=None), "us") + minutes.astype("timedelta64[m]")
    missing = random.random(ROWS) < 0.2
    columns = {
        "location": pa.array([f"place {number:03}" for number in range(PLACES) for _ in range(24 * 60)]),
        "timestamp": pa.array(at, pa.timestamp("us", "UTC")),
        "hour_start": pa.array(at.astype("datetime64[h]").astype("datetime64[us]"), pa.timestamp("us", "UTC")),
        "city_date": pa.array([day] * ROWS, pa.date32()),
        "aqi_value": pa.array(random.integers(0, 500, ROWS), pa.int32(), mask=missing),
        "traffic_level": pa.array(random.integers(1, 6, ROWS), pa.int16(), mask=missing[::-1]),
        "current_speed": pa.array(random.integers(0, 200_000, ROWS) / 2000, mask=missing),
        "congestion_ratio": pa.array(np.round(random.random(ROWS), 9), mask=missing),
    }
    empty = {
        field.name: pa.array([None if field.nullable else _zero(field.type)] * ROWS, field.type)
        for field in RAW if field.name not in columns
    }  # fmt: skip
    schema = described({})
    table = pa.table([columns.get(name, empty.get(name)) for name in RAW.names], schema=schema)
    path = f"{day}.parquet"
    stored = archive.store.write(path, lambda sink: pq.write_table(table, sink, compression="zstd"))
    return Manifest(day, 1, path, ROWS, stored.bytes, stored.checksum, SCHEMA_VERSION, {}, start, start, "a run")


def _zero(kind: pa.DataType) -> object:
    if pa.types.is_timestamp(kind):
        return datetime(2025, 1, 1, tzinfo=UTC)
    return "" if pa.types.is_string(kind) else False if pa.types.is_boolean(kind) else 0


def hours() -> list[datetime]:
    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    return [start + timedelta(hours=number) for number in range(24 * DAYS)]


def aggregated(engine: SparkEngine, archive: Archive, manifests: list[Manifest]) -> pa.Table:
    found = pa.Table.from_batches(engine.aggregate(archive, manifests, hours()), SCHEMA)
    return found.sort_by([("hour_start", "ascending"), ("location", "ascending")])


def expected(archive: Archive) -> pa.Table:
    """The same by DuckDB."""
    with duckdb.connect(":memory:") as database:
        database.execute("set TimeZone = 'UTC'")
        query = f"with {VIEW} as (from read_parquet('{archive.store.place.root}/*.parquet')) {aggregation('duckdb')}"
        found = database.execute(query).to_arrow_table().cast(SCHEMA)
    return found.sort_by([("hour_start", "ascending"), ("location", "ascending")])


def busy_executors(engine: SparkEngine) -> int:
    """How many run a task now; the driver is among those that Spark lists, and runs none."""
    infos = engine.run.session.sparkContext._jsc.sc().statusTracker().getExecutorInfos()
    return sum(one.numRunningTasks() > 0 for one in infos)


def executor_pids(cluster: Cluster) -> set[int]:
    """The processes below the workers that are executors; a worker also has short-lived ones, which may be over."""
    found = set()
    for worker in cluster.workers:
        for one in psutil.Process(worker.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # also of a zombie
                if "CoarseGrainedExecutorBackend" in " ".join(one.cmdline()):
                    found.add(one.pid)
    return found


def test_a_worker_that_is_killed_during_the_job_changes_nothing_of_its_result(
    cluster: Cluster, engine: SparkEngine, archive: Archive, manifests: list[Manifest]
) -> None:
    executors = executor_pids(cluster)
    driver = engine.run.gateway_pid
    assert len(executors) == 2, "each a JVM of its own"
    assert not executors & ({driver, os.getpid()} | {one.pid for one in psutil.Process(driver).children(True)})
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(aggregated, engine, archive, manifests)
        wait_for(lambda: job.done() or busy_executors(engine) == 2, "both executors run a task", 60.0)
        assert not job.done(), job.result()
        os.kill(cluster.workers[0].pid, signal.SIGKILL)
        wait_for(lambda: engine.run.executors() == 1, "its executor is gone", 60.0)
        assert not job.done(), "it was killed during the job"
        found = job.result(timeout=120)
    assert found.equals(expected(archive))
    assert found.num_rows == DAYS * 24 * PLACES
    assert cluster.living_workers() == 1


@pytest.mark.parametrize("executors", ["gone", "frozen"])
def test_a_cluster_that_is_lost_is_an_error_that_says_so(
    cluster: Cluster, engine: SparkEngine, archive: Archive, manifests: list[Manifest], executors: str
) -> None:
    """Frozen ones stay in Spark's books."""
    frozen = executor_pids(cluster) if executors == "frozen" else set()
    try:
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        for one in (*cluster.workers, cluster.master):
            os.kill(one.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match=r"gave no executor for 3 seconds\. Do its workers run"):
            aggregated(engine, archive, manifests)
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGKILL)
