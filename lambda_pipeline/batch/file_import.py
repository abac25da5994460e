"""Importing files: CSV (plain or gzip) and Parquet, in chunks, idempotently.

A file's rows become records of the import log: the same file twice changes nothing, because an observation is
identified by location and timestamp.
"""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from lambda_pipeline.batch.raw_data import import_observations, refresh_latest
from lambda_pipeline.domain.catalogue import MAX_NAME_LENGTH, Location
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.log import Incoming
from lambda_pipeline.domain.observation import (
    SCHEMA_VERSION,
    InvalidObservationError,
    Observation,
    ObservationMessage,
    Validator,
)
from lambda_pipeline.errors import ImportRefusedError
from lambda_pipeline.storage.deployment import load_deployment, register_locations
from lambda_pipeline.storage.engine import transaction

CHUNK_ROWS = 20_000
MAX_LINE = 1_000_000  # characters; gzip makes a gigabyte of a megabyte, and a line is read whole
MAX_LOCATIONS = 100_000  # that a file may name
REQUIRED = ("timestamp", "location")
_FLOATS = ("latitude", "longitude", "current_speed", "free_flow_speed")
_INTEGERS = ("aqi_value", "traffic_level")
MEASURES = ("aqi_value", "traffic_level", "current_speed", "free_flow_speed")
KNOWN = (*REQUIRED, *_FLOATS, *_INTEGERS, "road_closure")
# The last three are pyarrow's, for a time that Python cannot hold, and for a zone that nobody knows.
_UNREADABLE = (
    OSError, EOFError, zlib.error, csv.Error, ValueError, OverflowError, LookupError, pa.ArrowException,
)  # fmt: skip
_MISSING = {"", "null", "none", "nan", "na", "-", "\\n"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file: its number (the first line is 1), and its values by column."""

    number: int
    values: Mapping[str, Any]


@dataclass
class ImportReport:
    """What an import did. `rejected` rows are in `reject_file`, if there are any."""

    rows: int = 0
    stored: int = 0
    rejected: int = 0
    added_locations: int = 0
    first: datetime | None = None
    last: datetime | None = None
    reject_file: Path | None = None
    reasons: list[str] = field(default_factory=list)  # the first few, with their line numbers

    @property
    def known_before(self) -> int:
        """Valid rows that were already stored."""
        return self.rows - self.stored - self.rejected


def import_file(
    engine: sa.Engine,
    path: Path,
    *,
    add_locations: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Import a file into `raw_data`; publish its days afterwards with a backfill.

    `on_progress(done, total)` is told of bytes read. Raises ImportRefusedError, with nothing stored, for a file that
    cannot be read, that lacks a column, or that names unknown locations (unless `add_locations` registers them).
    """
    with transaction(engine) as database:
        deployment = load_deployment(database)
    found = _scan(path)
    unknown = {name: place for name, place in found.items() if name not in deployment.locations}
    if unknown and not add_locations:
        shown = ", ".join(repr(name) for name in sorted(unknown)[:10])
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        raise ImportRefusedError(
            f"{path.name}: {deployment.city} does not know {shown}{more}. Nothing was imported.",
            "Add --add-locations to register them, or add them to the city's catalogue.",
        )
    if unknown:
        with transaction(engine) as database:
            register_locations(database, unknown.values(), "import")
        with transaction(engine) as database:
            deployment = load_deployment(database)
    report = ImportReport(added_locations=len(unknown))
    _import_rows(engine, path, deployment.validator(), deployment.clock(), report, on_progress)
    return report


def _import_rows(
    engine: sa.Engine,
    path: Path,
    validator: Validator,
    clock: CityClock,
    report: ImportReport,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    newest: dict[tuple[str, str], Observation] = {}
    now = datetime.now(UTC)  # a file has no append time: its rows are appended now
    with _Rejects(path, report) as rejects:
        for rows in _chunks(read_rows(path, on_progress), CHUNK_ROWS):
            chunk = []
            for row in rows:
                try:
                    observation = validator.validate(_message(row, clock), now)
                except (InvalidObservationError, msgspec.ValidationError, ValueError) as error:
                    rejects.add(row, _explain(str(error)))
                    continue
                chunk.append(observation)
                _keep_newest(newest, observation)
                report.first = min(report.first or observation.timestamp, observation.timestamp)
                report.last = max(report.last or observation.timestamp, observation.timestamp)
            report.rows += len(rows)
            report.stored += import_observations(engine, chunk, f"import:{path.name}")
    latest = [
        Incoming(observation, f"import:{path.name}", 0, number) for number, observation in enumerate(newest.values())
    ]
    if latest:
        refresh_latest(engine, latest)


def read_rows(path: Path, on_progress: Callable[[int, int], None] | None = None) -> Iterator[Row]:
    """The rows of a CSV or Parquet file. Raises ImportRefusedError where it cannot be read or lacks a column."""
    try:
        if path.suffix == ".parquet" or _starts_with(path, b"PAR1"):
            yield from _read_parquet(path, on_progress)
        else:
            yield from _read_csv(path, on_progress)
    except FileNotFoundError as error:
        raise ImportRefusedError(f"there is no file {path}.") from error
    except _UNREADABLE as error:
        raise ImportRefusedError(
            f"{path.name} cannot be read: {error}.", "Is it CSV, gzipped CSV or Parquet?"
        ) from error


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _read_csv(path: Path, on_progress: Callable[[int, int], None] | None) -> Iterator[Row]:
    total = path.stat().st_size
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        content: IO[bytes] = gzip.GzipFile(fileobj=file) if is_gzip else file  # type: ignore[assignment]
        reader = csv.DictReader(_lines(content))
        _check_columns(path, reader.fieldnames or ())
        for count, values in enumerate(reader):
            if on_progress is not None and count % 5000 == 0:
                on_progress(file.tell(), total)
            yield Row(reader.line_num, values)
        if on_progress is not None:
            on_progress(total, total)


def _lines(content: IO[bytes]) -> Iterator[str]:
    text = io.TextIOWrapper(content, encoding="utf-8-sig", newline="")
    while line := text.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise ValueError(f"a line has more than {MAX_LINE:,} characters")
        yield line


def _read_parquet(path: Path, on_progress: Callable[[int, int], None] | None) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow.names)
        columns = [name for name in file.schema_arrow.names if name in KNOWN]
        total, number = file.metadata.num_rows, 0
        for batch in file.iter_batches(CHUNK_ROWS, columns=columns):
            for values in _without_nanoseconds(batch).to_pylist():
                number += 1
                yield Row(number, values)
            if on_progress is not None:
                on_progress(number, total)


def _without_nanoseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Nanoseconds, which pandas writes, would come out as pandas' own type."""
    number = batch.schema.get_field_index("timestamp")
    kind = batch.schema.types[number]
    if not pa.types.is_timestamp(kind) or kind.unit != "ns":
        return batch
    return batch.set_column(number, "timestamp", batch.column(number).cast(pa.timestamp("us", kind.tz), safe=False))


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise ImportRefusedError(
            f"{path.name} has no column {' and no column '.join(missing)}.",
            f"Known columns are {', '.join(KNOWN)}; any but the first two may be absent.",
        )


def _scan(path: Path) -> dict[str, Location]:
    """The locations that a file names, with the coordinates of their first row that has valid ones."""
    found: dict[str, Location] = {}
    for row in read_rows(path):
        name = row.values.get("location")
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME_LENGTH or "\0" in name:
            continue  # a bad line, reported as such when it is imported
        if name not in found or found[name].latitude is None:
            found[name] = Location(name, None, *_place(row))
        if len(found) > MAX_LOCATIONS:
            raise ImportRefusedError(
                f"{path.name} names more than {MAX_LOCATIONS:,} locations. Nothing was imported.",
                "Is the column location what it should be?",
            )
    return found


def _place(row: Row) -> tuple[float, float] | tuple[None, None]:
    """A row's coordinates, if it has both and they are on Earth."""
    try:
        latitude, longitude = (_number(row.values.get(column)) for column in ("latitude", "longitude"))
    except ValueError:
        return None, None
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None, None
    return latitude, longitude


def _message(row: Row, clock: CityClock) -> ObservationMessage:
    """The row as a message. Raises ValueError or msgspec.ValidationError with the reason."""
    values: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "location": row.values.get("location")}
    if None in row.values:  # what csv.DictReader names surplus fields
        raise ValueError("more fields than the header has columns")
    timestamp = row.values.get("timestamp")
    if isinstance(timestamp, str):
        values["timestamp"] = clock.parse(timestamp.strip())
    elif isinstance(timestamp, datetime):
        values["timestamp"] = timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=clock.zone)
    else:
        raise ValueError("timestamp is missing")
    for name in _FLOATS:
        values[name] = _number(row.values.get(name))
    for name in _INTEGERS:
        number = _number(row.values.get(name))
        if number is not None and not number.is_integer():
            raise ValueError(f"{name} must be a whole number, not {row.values[name]}")
        values[name] = None if number is None else int(number)
    values["road_closure"] = _truth(row.values.get("road_closure"))
    return msgspec.convert(values, ObservationMessage)


def _number(value: object) -> float | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in _MISSING):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float) or (isinstance(value, str) and "_" in value):
        raise ValueError(f"{value!r} is not a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number") from None
    return None if math.isnan(number) else number


def _truth(value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in _MISSING:
        return None
    if text not in ("true", "t", "1", "false", "f", "0"):
        raise ValueError(f"road_closure must be true or false, not {value!r}")
    return text in ("true", "t", "1")


def _explain(reason: str) -> str:
    if "before the start of history" in reason:
        return f"{reason}; lower LAMBDA_HISTORY_START to import it"
    return reason


def _keep_newest(newest: dict[tuple[str, str], Observation], observation: Observation) -> None:
    """Per location the newest observation of all, the newest with an AQI and the newest with traffic."""
    has_traffic = observation.traffic_level is not None or observation.current_speed is not None
    for measure, present in (("any", True), ("air", observation.aqi_value is not None), ("traffic", has_traffic)):
        key = (observation.location, measure)
        if present and (key not in newest or newest[key].timestamp < observation.timestamp):
            newest[key] = observation


def _chunks(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class _Rejects:
    """The reject file beside the imported one: made at the first bad line, with its number and the reason."""

    def __init__(self, path: Path, report: ImportReport) -> None:
        self._path = path.with_name(f"{path.name}.rejects.csv")
        self._report = report
        self._file: IO[str] | None = None
        self._writer: Any = None

    def __enter__(self) -> "_Rejects":
        with self._plainly():
            self._path.unlink(missing_ok=True)  # of an earlier import
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ImportRefusedError(
                f"{self._path} cannot be written: {error.strerror}.",
                "Bad lines are kept there: import from a folder you may write to. Importing twice is harmless.",
            ) from error

    def add(self, row: Row, reason: str) -> None:
        """Keep a bad row."""
        if self._file is None:
            with self._plainly():
                self._file = self._path.open("w", encoding="utf-8", newline="")
            self._writer = csv.writer(self._file)
            self._writer.writerow(["line", "reason", *(name for name in row.values if name is not None)])
            self._report.reject_file = self._path
        self._writer.writerow([row.number, reason, *row.values.values()])
        self._report.rejected += 1
        if len(self._report.reasons) < 10:
            self._report.reasons.append(f"line {row.number}: {reason}")
