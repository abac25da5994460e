"""Exports: what is served, as CSV, JSON or Parquet, written in pieces so that memory stays flat."""

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.errors import TooMuchError
from lambda_pipeline.serving.choices import Format, What
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline.serving.raw_choice import RawFilter
from lambda_pipeline.serving.view import Locations, ServingView

_WINDOW = timedelta(days=7)  # of one read
_DAY = pd.ArrowDtype(pa.date32())

_MEASURES = [
    "avg_aqi", "avg_traffic", "min_aqi", "max_aqi", "min_traffic", "max_traffic", "data_points_count", "aqi_count",
    "traffic_count", "is_peak_hour",
]  # fmt: skip
HOURLY_COLUMNS = ["hour_start", "date", "hour", "location", *_MEASURES, "layer"]
DAILY_COLUMNS = ["date", "location", *_MEASURES]


def export(serving: ServingLayer, what: What, start: datetime, end: datetime, form: Format, out: IO[bytes]) -> int:
    """Write what is served of [start, end) (aware instants); returns the rows. Conditions have no range.

    All of it comes from one snapshot. Instants are written in the city's time with its offset (in Parquet as
    instants), days as dates.
    """
    rows = 0
    with serving.snapshot() as view:
        clock = view.city().clock()
        writer = _Writer(form, out)
        for frame in _frames(view, what, start, end, clock):
            rows += len(frame)
            writer.write(_in_city_time(frame, clock, form))
        writer.close()
    return rows


def export_raw(
    view: ServingView,
    start: date,
    end: date,
    locations: Locations,
    where: RawFilter,
    form: Format,
    out: IO[bytes],
    *,
    at_most: int,
) -> int:
    """Write the observations of the city days [start, end) that match, oldest first; returns the rows.

    The columns and instants are those of `export`; what is written and what is counted come from the view's snapshot.
    Raises TooMuchError, with nothing written, if there are more than `at_most`.
    """
    if view.count_raw_data(start, end, locations, where=where, at_most=at_most) > at_most:
        raise TooMuchError(
            f"more than {at_most:,} observations match.",
            "Choose fewer days or locations, or use `lambda-pipeline export raw`.",
        )
    clock = view.city().clock()
    writer = _Writer(form, out)
    rows = 0
    for frame in view.stream_raw_data(start, end, locations, where=where):
        rows += len(frame)
        writer.write(_in_city_time(frame, clock, form))
    if rows == 0:  # the columns, at least
        writer.write(_in_city_time(view.get_raw_data(start, start), clock, form))
    writer.close()
    return rows


def _frames(view: ServingView, what: What, start: datetime, end: datetime, clock: CityClock) -> Iterator[pd.DataFrame]:
    if what is What.CONDITIONS:
        yield view.get_combined_heatmap_data()
        return
    first, last = clock.city_date(start), clock.city_date(end - timedelta(microseconds=1))
    if what is What.OBSERVED_PEAKS:
        yield view.get_observed_peaks(first, last + timedelta(days=1))
        return
    is_empty = True
    for window_start, window_end in _windows(first, last + timedelta(days=1)):
        for piece in _pieces(view, what, window_start, window_end):
            frame = piece if what is What.DAILY else _between(piece, start, end)
            if not frame.empty:
                is_empty = False
                yield frame
    if is_empty:  # the columns, at least
        yield view.get_raw_data(first, first) if what is What.RAW else next(_pieces(view, what, first, first))


def _pieces(view: ServingView, what: What, first: date, until: date) -> Iterator[pd.DataFrame]:
    """What is served of some city days, one frame after the other."""
    if what is What.RAW:
        yield from view.stream_raw_data(first, until)
    elif what is What.HOURLY:
        yield view.get_hourly(first, until)[HOURLY_COLUMNS]
    elif what is What.PEAK_HOURS:
        yield view.get_peak_hours_analysis(first, until)
    else:
        yield view.get_daily(first, until)[DAILY_COLUMNS]


def _windows(first: date, until: date) -> Iterator[tuple[date, date]]:
    while first < until:
        end = min(first + _WINDOW, until)
        yield first, end
        first = end


def _between(frame: pd.DataFrame, start: datetime, end: datetime) -> pd.DataFrame:
    column = "hour_start" if "hour_start" in frame else "timestamp"
    return frame[(frame[column] >= start) & (frame[column] < end)]


def _in_city_time(frame: pd.DataFrame, clock: CityClock, form: Format) -> pd.DataFrame:
    frame = frame.copy()
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.DatetimeTZDtype):
            frame[name] = frame[name].dt.tz_convert(clock.zone)
            if form is not Format.PARQUET:
                frame[name] = frame[name].map(lambda moment: moment.isoformat(), na_action="ignore").astype(object)
        elif pd.api.types.is_datetime64_any_dtype(frame[name].dtype):
            days = frame[name]
            frame[name] = days.astype(_DAY) if form is Format.PARQUET else days.dt.strftime("%Y-%m-%d")
    return frame


class _Writer:
    """Pieces of one table, one after the other, into one file."""

    def __init__(self, form: Format, out: IO[bytes]) -> None:
        self._form = form
        self._out = out
        self._count = 0
        self._parquet: Any = None

    def write(self, frame: pd.DataFrame) -> None:
        """Append rows."""
        if self._form is Format.CSV:
            self._out.write(frame.to_csv(index=False, header=self._count == 0).encode())
        elif self._form is Format.PARQUET:
            self._write_parquet(frame)
        else:
            for record in json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15)):
                self._out.write((",\n" if self._count else "[\n").encode())
                self._out.write(json.dumps(record, ensure_ascii=False).encode())
                self._count += 1
            return
        self._count += 1

    def close(self) -> None:
        """Finish the file."""
        if self._form is Format.JSON:
            self._out.write(b"\n]\n" if self._count else b"[]\n")
        if self._parquet is not None:
            self._parquet.close()
        self._out.flush()

    def _write_parquet(self, frame: pd.DataFrame) -> None:
        if self._parquet is None:
            table = pa.Table.from_pandas(frame, preserve_index=False)
            schema = pa.schema([_nullable(field) for field in table.schema])
            self._parquet = pq.ParquetWriter(self._out, schema, compression="zstd")
        self._parquet.write_table(pa.Table.from_pandas(frame, schema=self._parquet.schema, preserve_index=False))


def _nullable(field: pa.Field) -> pa.Field:
    """A column that is all missing in the first piece may hold values in a later one."""
    return pa.field(field.name, pa.bool_() if pa.types.is_null(field.type) else field.type)
