"""Puts what an engine aggregated into the session's staging tables, by binary COPY.

Every row is of the same length, so that numpy lays a whole batch out at once: a location is a number that stands for
it, and a missing minimum or maximum any number, since its count says that it is missing.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from lambda_pipeline.batch.engines.engine import SCHEMA
from lambda_pipeline.storage.incoming import driver_connection

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_FOOTER = b"\xff\xff"
_EPOCH = np.datetime64("2000-01-01", "us").astype("int64")  # PostgreSQL counts microseconds and days from here
_EPOCH_DAY = np.datetime64("2000-01-01", "D").astype("int64")
_WIDTHS = {pa.int16(): ">i2", pa.int32(): ">i4", pa.int64(): ">i8", pa.float64(): ">f8", pa.date32(): ">i4"}
_COLUMNS = tuple("place" if name == "location" else name for name in SCHEMA.names)
_COPY = f"copy landed_aggregations ({', '.join(_COLUMNS)}) from stdin (format binary)"


def _format(field: pa.Field) -> str:
    if field.name == "location":
        return ">i4"
    return ">i8" if pa.types.is_timestamp(field.type) else _WIDTHS[field.type]


_ROW = np.dtype(
    [("fields", ">i2")]
    + [item for field in SCHEMA for item in ((f"{field.name}.length", ">i4"), (field.name, _format(field)))]
)


class Places:
    """Numbers that stand for locations, over all batches."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of(self, names: pa.Array) -> Any:
        """A number for each name."""
        encoded = names.dictionary_encode()
        known = [self.numbers.setdefault(name, len(self.numbers)) for name in encoded.dictionary.to_pylist()]
        return np.asarray(known, dtype="int32")[encoded.indices.to_numpy(zero_copy_only=False)]


def land(connection: sa.Connection, batches: Iterator[pa.RecordBatch]) -> int:
    """COPY an engine's batches into `landed_aggregations` and `landed_places`; how many rows that are."""
    places, rows = Places(), 0
    with driver_connection(connection).cursor() as cursor:
        with cursor.copy(_COPY) as copy:
            copy.write(_HEADER)
            for batch in batches:
                copy.write(encode(batch, places))
                rows += batch.num_rows
            copy.write(_FOOTER)
        _name(cursor, places)
    return rows


def encode(batch: pa.RecordBatch, places: Places) -> bytes:
    """A batch of `SCHEMA` as the rows of a binary COPY."""
    rows = np.zeros(batch.num_rows, _ROW)
    rows["fields"] = len(SCHEMA)
    for number, field in enumerate(SCHEMA):
        column = batch.column(number)
        rows[f"{field.name}.length"] = _ROW[field.name].itemsize
        rows[field.name] = places.of(column) if field.name == "location" else _numbers(column, field.type)
    return rows.tobytes()


def _numbers(column: pa.Array, kind: pa.DataType) -> Any:
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64()).to_numpy(zero_copy_only=False) - _EPOCH
    if pa.types.is_date(kind):
        return column.cast(pa.int32()).to_numpy(zero_copy_only=False) - _EPOCH_DAY
    return pc.fill_null(column, 0).to_numpy(zero_copy_only=False)


def _name(cursor: "psycopg.Cursor[tuple[object, ...]]", places: Places) -> None:
    with cursor.copy("copy landed_places (place, location) from stdin") as copy:
        for name, number in places.numbers.items():
            copy.write_row((number, name))
