"""What Spark's executors run to read files of a bucket. It travels to them, so that it needs pyarrow only."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

_BATCH_ROWS = 65_536


def reader(files: fs.FileSystem, columns: tuple[str, ...]) -> Callable[[Iterable[Any]], Iterator[pa.RecordBatch]]:
    """For mapInArrow: rows of (path, checksum) become the rows of these files, each of which is checked first."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for row in batch.to_pylist():
                with files.open_input_stream(row["path"]) as stream:
                    content = stream.read_buffer()
                if hashlib.sha256(content).hexdigest() != row["checksum"]:
                    raise ValueError(f"{row['path']} is not what was written")
                with pq.ParquetFile(pa.BufferReader(content)) as file:
                    for found in file.iter_batches(_BATCH_ROWS, columns=list(columns), use_threads=False):
                        yield found.select(list(columns))  # in this order, not the file's

    return read
