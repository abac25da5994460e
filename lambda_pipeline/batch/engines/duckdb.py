"""DuckDB, in this process: reads days' files by itself, without an extension and without a network.

Files of a bucket are copied to this machine first, a chunk of days at a time, so that what is aggregated is what was
verified.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import Manifest
from lambda_pipeline.batch.engines.dialect import VIEW, aggregation
from lambda_pipeline.batch.engines.engine import READ, SCHEMA
from lambda_pipeline.domain.city_time import HOUR
from lambda_pipeline.errors import EngineError

_BATCH_ROWS = 65_536


class DuckdbEngine:
    """An engine in memory that spills what does not fit to a temporary folder, until it is closed."""

    name = "duckdb"

    def __init__(self, memory_mb: int = 1024, threads: int | None = None) -> None:
        """`memory_mb` (MiB) is what it may take before it spills; without `threads`, one for each processor."""
        self._folder = Path(tempfile.mkdtemp(prefix="lambda-duckdb-"))
        self._memory_mb = memory_mb
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_mb}MiB", "temp_directory": str(self._folder / "spilled"),
            "preserve_insertion_order": False, "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }  # fmt: skip
        if threads is not None:
            config["threads"] = threads
        self._database = duckdb.connect(":memory:", config=config)

    def describe(self) -> Mapping[str, str]:
        """Version, threads and memory."""
        (threads,) = self._database.execute("select current_setting('threads')").fetchone() or (0,)
        return {"version": duckdb.__version__, "threads": str(threads), "memory": f"{self._memory_mb} MiB"}

    def aggregate(
        self, archive: Archive, manifests: Sequence[Manifest], hours: Sequence[datetime]
    ) -> Iterator[pa.RecordBatch]:
        """See `ArchiveEngine`. All files are verified before the first batch."""
        copies = Path(tempfile.mkdtemp(prefix="days-", dir=self._folder))
        try:
            paths = [str(archive.fetch(one, copies)) for one in manifests]
            yield from self._aggregate(paths, hours)
        except duckdb.Error as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise EngineError(
                f"DuckDB failed: {reason}", "Is there memory (LAMBDA_DUCKDB_MEMORY) and room in the temporary folder?"
            ) from error
        finally:
            shutil.rmtree(copies, ignore_errors=True)

    def _aggregate(self, paths: Sequence[str], hours: Sequence[datetime]) -> Iterator[pa.RecordBatch]:
        first, last = min(hours), max(hours)
        values = {"paths": list(paths), "first": first, "last": last}
        chosen = "hour_start between $first and $last"
        if (last - first) // HOUR + 1 != len(set(hours)):
            chosen += " and hour_start in (select unnest($hours))"
            values["hours"] = list(hours)
        query = (
            f"with {VIEW} as (select {', '.join(READ)} from read_parquet($paths) where {chosen}) "  # noqa: S608 - made of constants
            f"select * from ({aggregation('duckdb')}) order by hour_start, location"
        )
        self._database.execute("set TimeZone = 'UTC'")
        found: pa.RecordBatchReader = self._database.sql(query, params=values).to_arrow_reader(_BATCH_ROWS)
        for batch in found:
            columns = [column.cast(field.type) for column, field in zip(batch.columns, SCHEMA, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)

    def close(self) -> None:
        """End it and remove its temporary folder."""
        self._database.close()
        shutil.rmtree(self._folder, ignore_errors=True)
