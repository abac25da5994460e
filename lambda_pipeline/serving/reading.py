"""Statements as typed frames, column by column: a city may have ten thousand locations, and a page waits for them.

Values come in PostgreSQL's binary form, instants as the eight bytes that they are there, so that no object of Python's
is made for each of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import sqlalchemy as sa
from psycopg.types.string import ByteaBinaryLoader

from lambda_pipeline.serving import frames
from lambda_pipeline.storage.incoming import driver_connection

_STREAMED = 250 if psycopg.capabilities.has_stream_chunked() else 1  # rows at a time; a chunk needs libpq 17
_EPOCH = 946_684_800_000_000  # microseconds from numpy's to PostgreSQL's: 2000-01-01
_MISSING = np.iinfo("int64").min  # of an instant, as numpy has it
_MISSING_BYTES = int(_MISSING).to_bytes(8, signed=True)


def read_frame(
    connection: sa.Connection, statement: sa.ClauseElement, values: Mapping[str, Any], columns: Mapping[str, str]
) -> pd.DataFrame:
    """The rows of a statement, whose columns are these in their order; dtypes as frames.py writes them."""
    with _cursor(connection) as cursor:
        query, bound = _compiled(connection, statement, values)
        return _frame(cursor.stream(query, bound, binary=True, size=_STREAMED), columns)


def stream_frames(
    connection: sa.Connection,
    statement: sa.ClauseElement,
    values: Mapping[str, Any],
    columns: Mapping[str, str],
    chunk_rows: int,
) -> Iterator[pd.DataFrame]:
    """The same in frames of at most `chunk_rows` rows, which PostgreSQL hands over one after the other."""
    with _cursor(connection, "frames") as cursor:
        cursor.execute(*_compiled(connection, statement, values))
        while rows := cursor.fetchmany(chunk_rows):
            yield _frame(iter(rows), columns)


def _frame(rows: Iterator[Sequence[Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """A frame with exactly these columns and dtypes, also without a row or a value.

    Few rows at a time become columns, while PostgreSQL makes the next ones; and tuples that are gone soon do not set
    off a collection of all garbage, which takes as long as the read.
    """
    values: list[list[Any]] = [[] for _ in columns]
    while few := list(islice(rows, _STREAMED)):
        for column, more in zip(values, zip(*few, strict=True), strict=True):
            column.extend(more)
    return pd.DataFrame(
        {name: _column(column, dtype) for (name, dtype), column in zip(columns.items(), values, strict=True)},
        copy=False,
    )


def _cursor(connection: sa.Connection, name: str = "") -> "psycopg.Cursor[Any] | psycopg.ServerCursor[Any]":
    driver = driver_connection(connection)
    cursor = driver.cursor(name, binary=True) if name else driver.cursor(binary=True)
    cursor.adapters.register_loader("timestamptz", ByteaBinaryLoader)
    return cursor


def _compiled(
    connection: sa.Connection, statement: sa.ClauseElement, values: Mapping[str, Any]
) -> tuple[bytes, Mapping[str, Any]]:
    """As the driver takes it."""
    compiled = statement.compile(dialect=connection.dialect)
    return str(compiled).encode(), compiled.construct_params(dict(values)) or {}


def _column(values: Sequence[Any], dtype: str) -> Any:
    if dtype in ("float64", "int64", "bool"):
        return np.array(values, dtype=dtype)
    if dtype == frames.INSTANT:
        read = np.frombuffer(b"".join(_MISSING_BYTES if value is None else value for value in values), ">i8")
        instants = np.where(read == _MISSING, read, read + _EPOCH).astype("int64")
        return pd.DatetimeIndex(instants.view("datetime64[us]")).tz_localize("UTC")
    if dtype == frames.DAY:
        return pa.array(values, pa.date32()).to_numpy(zero_copy_only=False).astype(dtype)
    if dtype == "str":
        return pd.array(pa.array(values, pa.large_string()), dtype=dtype)
    return pd.array(values, dtype=dtype)  # type: ignore[call-overload]
