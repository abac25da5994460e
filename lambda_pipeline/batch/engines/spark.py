"""Spark, from this machine's processors to a cluster: days' files in, a chunk of days at a time.

A folder is read by Spark's own reader, so that all executors must see it; a bucket through pyarrow, since Spark's own
way to it is jars to download. The keys of the bucket travel inside the function that the executors run: they are in no
configuration, log or page of Spark's.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pyarrow as pa

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import Manifest
from lambda_pipeline.batch.engines import spark_files
from lambda_pipeline.batch.engines.dialect import VIEW, aggregation
from lambda_pipeline.batch.engines.engine import READ, SCHEMA
from lambda_pipeline.batch.engines.spark_session import SparkRun
from lambda_pipeline.errors import EngineError, LambdaPipelineError

_CHUNK_ROWS = 5_000_000
"""Raw rows that are aggregated at once: what bounds the sums that come back, whatever the archive's length."""
_TYPES = (
    "location string, hour_start timestamp, city_date date, aqi_value int, traffic_level smallint, "
    "current_speed double, congestion_ratio double"
)  # of READ
_WATCH_SECONDS = 0.5


class SparkEngine:
    """A Spark session of one run."""

    name = "spark"

    def __init__(
        self,
        master: str = "local[*]",
        driver_host: str = "127.0.0.1",
        memory_mb: int = 1024,
        lost_after: timedelta = timedelta(minutes=1),
    ) -> None:
        """See `SparkRun`. A cluster that gives no executor for `lost_after` has failed."""
        self._lost_after = lost_after
        self._memory_mb = memory_mb
        self.run = SparkRun(master, driver_host, memory_mb)

    def describe(self) -> Mapping[str, str]:
        """Version, master, memory of an executor."""
        session = self.run.session
        return {
            "version": session.version, "master": self.run.master, "memory": f"{self._memory_mb} MiB",
            "parallelism": str(session.sparkContext.defaultParallelism),
        }  # fmt: skip

    def aggregate(
        self, archive: Archive, manifests: Sequence[Manifest], hours: Sequence[datetime]
    ) -> Iterator[pa.RecordBatch]:
        """See `ArchiveEngine`. In a folder, the files of a chunk of days are verified before its first batch."""
        for chunk in _chunks(manifests):
            chosen = _hours_of(chunk, hours)
            if not chosen:
                continue
            if archive.store.place.kind == "folder":
                for one in chunk:
                    archive.verify(one)
            try:
                table = self._aggregate(archive, chunk, chosen)
            except Exception as error:
                if archive.store.place.kind != "folder":
                    for one in chunk:
                        archive.verify(one)  # what is wrong with a file says so itself
                if isinstance(error, LambdaPipelineError):
                    raise
                raise EngineError(
                    f"Spark failed on {self.run.master}: {_reason(error)}",
                    "Is there memory (LAMBDA_SPARK_MEMORY), do all executors see the archive, and do the workers run?",
                ) from error
            yield from table.to_batches()

    def close(self) -> None:
        """End the session and its Java process."""
        self.run.close()

    def _aggregate(self, archive: Archive, chunk: Sequence[Manifest], hours: Sequence[datetime]) -> pa.Table:
        from pyspark.sql import functions as F  # noqa: N812, PLC0415 - an extra, and its own custom

        session = self.run.session
        with _Watch(self.run, self._lost_after) as watch:
            try:  # also to find out a file's columns is a job of the cluster's
                rows = self._read(archive, chunk).where(F.col("hour_start").isin(list(hours)))
                rows.createOrReplaceTempView(VIEW)
                table: pa.Table = session.sql(aggregation("spark")).toArrow()
            except Exception as error:
                if watch.is_lost:
                    seconds = self._lost_after.total_seconds()
                    raise EngineError(
                        f"the Spark cluster {self.run.master} gave no executor for {seconds:g} seconds.",
                        "Do its workers run, and have they room for LAMBDA_SPARK_MEMORY?",
                    ) from error
                raise
        return table.cast(SCHEMA)

    def _read(self, archive: Archive, chunk: Sequence[Manifest]) -> Any:
        session, root = self.run.session, archive.store.place.root
        if archive.store.place.kind == "folder":
            paths = [f"file://{_literal(f'{root}/{one.path}')}" for one in chunk]
            return session.read.parquet(*paths).select(*READ)
        from pyspark import cloudpickle  # noqa: PLC0415 - an extra

        # Executors need not have this package.
        cloudpickle.register_pickle_by_value(spark_files)  # type: ignore[no-untyped-call]
        listed = [(f"{root}/{one.path}", one.checksum) for one in chunk]
        files = session.createDataFrame(listed, "path string, checksum string").repartition(len(listed))
        return files.mapInArrow(spark_files.reader(archive.store.files, READ), _TYPES)


class _Watch:
    """Cancels what runs once a cluster has had no executor for so long, or neither a master nor a task that finished.

    Spark itself would wait for ever.
    """

    def __init__(self, run: SparkRun, lost_after: timedelta) -> None:
        self._run = run
        self._patience = lost_after.total_seconds()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="spark-watch", daemon=True)
        self.is_lost = False

    def __enter__(self) -> "_Watch":
        if not self._run.is_local:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        without, finished = 0.0, -1
        while not self._done.wait(_WATCH_SECONDS):
            try:
                before, finished = finished, self._run.finished_tasks()
                # executors that died with their master may stay in Spark's books for ever
                is_served = self._run.executors() > 0 and (finished != before or self._run.has_master())
                without = 0.0 if is_served else without + _WATCH_SECONDS
                if without >= self._patience:
                    self.is_lost = True
                    self._run.session.sparkContext.cancelAllJobs()
                    return
            except Exception:  # the driver died: what waits for it says so
                return


def _chunks(manifests: Sequence[Manifest]) -> Iterator[list[Manifest]]:
    """Days in order, as many at a time as hold `_CHUNK_ROWS`; at least one."""
    chunk: list[Manifest] = []
    rows = 0
    for one in manifests:
        if chunk and rows + one.rows > _CHUNK_ROWS:
            yield chunk
            chunk, rows = [], 0
        chunk.append(one)
        rows += one.rows
    if chunk:
        yield chunk


def _hours_of(chunk: Sequence[Manifest], hours: Sequence[datetime]) -> list[datetime]:
    """The hours that may lie in these days, in whatever zone."""
    first = datetime.combine(min(one.city_date for one in chunk) - timedelta(days=1), time(), UTC)
    until = datetime.combine(max(one.city_date for one in chunk) + timedelta(days=2), time(), UTC)
    return sorted(hour for hour in set(hours) if first <= hour < until)


def _literal(path: str) -> str:
    """A path in which nothing stands for several files."""
    return "".join(f"\\{letter}" if letter in "*?[]{}\\" else letter for letter in path)


def _reason(error: Exception) -> str:
    """The sentence behind Py4J's and Spark's own frames."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    caused = [line for line in lines if line.startswith(("Caused by:", "org.apache.spark.SparkException"))]
    return (caused or lines or [type(error).__name__])[0].rstrip(".") + "."
