"""Writes a day's file: out of PostgreSQL by COPY, piece by piece, so that memory stays flat however large the day."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from uuid import uuid4

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import sqlalchemy as sa

from lambda_pipeline.archive.dropped import gather_day
from lambda_pipeline.archive.manifest import (
    SCHEMA_VERSION,
    Manifest,
    find_manifest,
    forget_leftover,
    note_leftover,
    replace_manifest,
)
from lambda_pipeline.archive.read import verify
from lambda_pipeline.archive.schema import COLUMNS, SCHEMA, described
from lambda_pipeline.archive.store import Store
from lambda_pipeline.errors import ArchiveContentionError, ArchiveMismatchError
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.floor import hold_months, raw_floor
from lambda_pipeline.storage.incoming import driver_connection
from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql, sql_text

ROW_GROUP = 131_072
"""Rows of a row group: what a reader fetches or leaves out as a whole."""
_BLOCK = 8 << 20  # bytes of COPY's text that are parsed at once
_STEADY = ("timestamp", "log_offset")  # from row to row in steps that are often the same
_TEXT = pa_csv.ConvertOptions(
    column_types={field.name: field.type for field in SCHEMA},
    null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,  # "" is a text, nothing is none
    true_values=["t"], false_values=["f"],
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a snapshot holds of a day: the instants that it lies between, its rows, and the frontiers."""

    start_at: datetime
    end_at: datetime
    rows: int
    covered: Mapping[int, int]
    before: Manifest | None
    is_dropped: bool = False  # raw_data does not hold all of it: its rows are gathered in `dropped_rows`


def archive_day(engine: sa.Engine, store: Store, day: date, run_id: str) -> Manifest | None:
    """Write a city day's file and make it the day's archive; its manifest, or None where raw_data holds nothing of it.

    1. Note the file that is to be written as one that no manifest names: whatever happens to this process, a later
       run removes it.
    2. In one snapshot: read the day's present manifest, how many rows it has, and the frontiers; COPY the rows into
       the file. As many as `raw_hours` says, or nothing is archived: an emptied table must not replace a full file.
       What was dropped of the day comes out of its present file.
    3. Read the file back: it must be what was written.
    4. In one transaction, put the new manifest in place of the one that was read, and note the old file as one that
       no manifest names. Give up if another run replaced it meanwhile.

    Raises ArchiveUnavailableError, ArchiveMismatchError, ArchiveContentionError, DatabaseUnavailableError; the day's
    archive then is the one from before.
    """
    path = new_path(engine, day)
    with transaction(engine, "REPEATABLE READ") as database:
        hold_months(database)
        contents = _contents(database, day)
        floor = raw_floor(database)
        if contents is not None and floor is not None and contents.start_at < floor:
            gather_day(database, store, contents.before, day, floor)
            contents = replace(contents, is_dropped=True)
        new = None if contents is None else _write(database, store, path, day, contents, run_id)
    if contents is None or new is None:
        with transaction(engine) as database:
            forget_leftover(database, path)
        return None
    verify(store, new)
    if not replace_manifest(engine, new, contents.before):
        raise ArchiveContentionError(f"another run archived {day} meanwhile.", "Try again; the day is whole.")
    return new


def write_gathered(
    database: sa.Connection, store: Store, path: str, day: date, covered: Mapping[int, int], run_id: str
) -> tuple[Manifest, Manifest | None]:
    """Write a day's file out of `dropped_rows`, and read it back; its manifest, and the one that it is to replace.

    In the caller's transaction, which holds the raw lock. There must be as many rows as `raw_hours` says.
    """
    contents = _contents(database, day)
    if contents is None:
        raise ArchiveMismatchError(f"raw_hours has counted nothing of {day}.", "This is a defect; please report it.")
    contents = replace(contents, is_dropped=True, covered={**contents.covered, **covered})
    new = _write(database, store, path, day, contents, run_id)
    verify(store, new)
    return new, contents.before


def new_path(engine: sa.Engine, day: date) -> str:
    """The path of a day's next file, noted as one that no manifest names yet."""
    path = f"raw_data/{day:%Y}/{day.isoformat()}-{uuid4().hex[:12]}.parquet"
    with transaction(engine) as database:
        note_leftover(database, path)
    return path


def _contents(database: sa.Connection, day: date) -> _Contents | None:
    row = database.execute(sql("archive/day_contents"), {"day": day}).one()
    if row.rows is None:
        return None
    frontiers = database.execute(sa.text("select log_partition, next_offset from raw_frontier"))
    covered = {one.log_partition: one.next_offset for one in frontiers}
    return _Contents(row.start_at, row.end_at, row.rows, covered, find_manifest(database, day))


def _write(database: sa.Connection, store: Store, path: str, day: date, contents: _Contents, run_id: str) -> Manifest:
    schema = described({"city_date": day.isoformat(), "covered": json.dumps(contents.covered)})
    rows = 0

    def fill(out: io.RawIOBase) -> None:
        nonlocal rows
        with day_writer(out, schema) as writer:
            for group in _groups(_read(database, day, contents)):
                writer.write_table(group, row_group_size=ROW_GROUP)
                rows += group.num_rows
        if rows != contents.rows:
            raise ArchiveMismatchError(
                f"raw_data holds {rows} rows of {day}, and raw_hours counted {contents.rows}. Nothing was archived.",
                "This is a defect or a damaged raw_data; please report it with the log of this run.",
            )

    stored = store.write(path, fill)
    now = datetime.now(UTC)  # the database notes its own
    return Manifest(
        day, 1 if contents.before is None else contents.before.version + 1, path, rows, stored.bytes, stored.checksum,
        SCHEMA_VERSION, contents.covered, now, now, run_id,
    )  # fmt: skip


def day_writer(out: io.RawIOBase, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes a day's file into `out`: zstd, rows by location and time, with a page index and checksums."""
    order = [("location", "ascending"), ("timestamp", "ascending")]
    return pq.ParquetWriter(
        out, schema, compression="zstd", compression_level=6,
        use_dictionary=[name for name in COLUMNS if name not in _STEADY],
        column_encoding=dict.fromkeys(_STEADY, "DELTA_BINARY_PACKED"),
        write_page_index=True, write_page_checksum=True,
        sorting_columns=pq.SortingColumn.from_ordering(SCHEMA, order),
    )  # fmt: skip


def _read(database: sa.Connection, day: date, contents: _Contents) -> Iterator[pa.Table]:
    """The day's rows in order, as PostgreSQL writes them: its text of a number is read back as the same number."""
    run_script(database, sql_text("batch/plan_by_index"))
    statement = sql("archive/read_dropped" if contents.is_dropped else "archive/read_day").compile(
        dialect=database.dialect
    )
    values = {"day": day, "start_at": contents.start_at, "end_at": contents.end_at}
    copying = f"copy ({statement}) to stdout (format csv)".encode()
    with driver_connection(database).cursor() as cursor, cursor.copy(copying, values) as copy:
        for block in _blocks(copy):
            yield _parse(block)


def _blocks(rows: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    """COPY hands over row by row; some thousands of them together are worth parsing."""
    held: list[bytes | bytearray | memoryview] = []
    length = 0
    for row in rows:
        held.append(row)
        length += len(row)
        if length >= _BLOCK:
            yield b"".join(held)
            held, length = [], 0
    if held:
        yield b"".join(held)


def _parse(block: bytes) -> pa.Table:
    table = pa_csv.read_csv(
        pa.BufferReader(block),
        read_options=pa_csv.ReadOptions(column_names=list(COLUMNS), use_threads=False, block_size=len(block) + 1),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=_TEXT,
    )
    return table.cast(SCHEMA)


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of ROW_GROUP rows, but for the last one."""
    held: list[pa.Table] = []
    rows = 0
    for table in tables:
        held.append(table)
        rows += table.num_rows
        while rows >= ROW_GROUP:
            together = pa.concat_tables(held)
            yield together.slice(0, ROW_GROUP)
            held = [together.slice(ROW_GROUP)]
            rows -= ROW_GROUP
    if rows:
        yield pa.concat_tables(held)
