"""`ServingLayer`: typed reads over the SQL views, one consistent snapshot per call."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd
import sqlalchemy as sa

from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.peak_hours import PeakWindow
from lambda_pipeline.serving import frames
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import make_engine, transaction
from lambda_pipeline.storage.sql import sql

Locations = Sequence[str] | None


@dataclass(frozen=True, slots=True)
class CityInfo:
    """Whose data this is. `history_start` is a day of the city."""

    name: str
    timezone: str
    peak_windows: tuple[PeakWindow, ...]
    history_start: date

    def clock(self) -> CityClock:
        """The city's clock."""
        return CityClock(self.timezone, self.peak_windows)


class ServingView:
    """The reads, within one transaction: all of them see the same snapshot."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._known_clock: CityClock | None = None

    def city(self) -> CityInfo:
        """Whose data this is. Raises SchemaError where the database was never set up."""
        found = load_deployment(self._connection)
        return CityInfo(found.city, found.timezone, found.peak_windows, found.history_start)

    def get_combined_heatmap_data(self) -> pd.DataFrame:
        """Where things stand now: a row per location, sorted by name. Columns: `frames.HEATMAP`.

        Ages are seconds at the database's clock; `is_peak_hour` says whether the observation was made at a peak hour.
        """
        return self._frame("heatmap", frames.HEATMAP)

    def get_hourly(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """Hours of the city days [start, end), by hour and location. Columns: `frames.HOURLY`."""
        return self._frame("hourly", frames.HOURLY, self._range(start, end, locations))

    def get_daily(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """City days [start, end), by day and location. Columns: `frames.DAILY`."""
        return self._frame("daily", frames.DAILY, self._range(start, end, locations))

    def get_peak_hours_analysis(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """The hourly analysis of the city days [start, end), today's up to its newest observation.

        By hour and location. Columns: `frames.PEAK_HOURS`.
        """
        return self._frame("peak_hours_analysis", frames.PEAK_HOURS, self._range(start, end, locations))

    def get_observed_peaks(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """Which hours really are the peaks: the average weekday and weekend day of the city days [start, end).

        By location, kind of day and hour; the rule is `domain.peak_hours.observed_peaks`. Columns:
        `frames.OBSERVED_PEAKS`.
        """
        return self._frame("observed_peaks", frames.OBSERVED_PEAKS, self._range(start, end, locations))

    def get_statistics(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """Figures of the city days [start, end): the whole city first (location missing), then each location.

        Averages are weighted by observations. Columns: `frames.STATISTICS`; no row where nothing was observed.
        """
        return self._frame("statistics", frames.STATISTICS, self._range(start, end, locations))

    def get_raw_data(
        self, start: date, end: date, locations: Locations = None, limit: int | None = 500, offset: int = 0
    ) -> pd.DataFrame:
        """Observations of the city days [start, end), newest first, a page of them. Columns: `frames.RAW`."""
        values = self._range(start, end, locations) | {"limit": limit, "offset": offset}
        return self._frame("raw", frames.RAW, values)

    def stream_raw_data(self, start: date, end: date, chunk_rows: int = 100_000) -> Iterator[pd.DataFrame]:
        """All observations of the city days [start, end), oldest first, in frames of at most `chunk_rows` rows."""
        streaming = self._connection.execution_options(stream_results=True, max_row_buffer=chunk_rows)
        rows = streaming.execute(sql("serving/raw_export"), self._range(start, end, None)).mappings()
        for chunk in rows.partitions(chunk_rows):
            yield _typed(pd.DataFrame([dict(row) for row in chunk], columns=list(frames.RAW)), frames.RAW)

    def get_freshness(self) -> pd.DataFrame:
        """How fresh each layer is: "speed", then "batch". Columns: `frames.FRESHNESS`."""
        return self._frame("freshness", frames.FRESHNESS)

    def _range(self, start: date, end: date, locations: Locations) -> dict[str, Any]:
        """City days as the instants at which they start: a day may begin at a midnight that comes twice."""
        clock = self._clock()
        return {
            "start": start,
            "end": end,
            "start_at": clock.day_start(start),
            "end_at": clock.day_start(end),
            "locations": None if locations is None else list(locations),
        }

    def _clock(self) -> CityClock:
        if self._known_clock is None:
            timezone = self._connection.execute(sa.text("select timezone from deployment")).scalar()
            # a database that is nobody's says so itself
            self._known_clock = CityClock(str(timezone)) if timezone is not None else self.city().clock()
        return self._known_clock

    def scalar(self, statement: sa.Executable) -> Any:
        """One value of this snapshot."""
        return self._connection.execute(statement).scalar_one()

    def rows(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> Sequence[sa.Row[Any]]:
        """All rows, in this snapshot."""
        return self._connection.execute(statement, values or {}).all()

    def _frame(self, query: str, columns: Mapping[str, str], values: Mapping[str, Any] | None = None) -> pd.DataFrame:
        rows = self._connection.execute(sql(f"serving/{query}"), values or {}).all()
        return _typed(pd.DataFrame([tuple(row) for row in rows], columns=list(columns)), columns)


class ServingLayer:
    """The same reads, each in a transaction of its own; `snapshot()` for several that must agree.

    Raises DatabaseUnavailableError while the database is away, SchemaError where it has not the newest schema.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str, application: str) -> "ServingLayer":
        """One on an address; `application` shows in pg_stat_activity. Raises SettingsError; connects later."""
        return cls(make_engine(url, application))

    @contextmanager
    def snapshot(self) -> Iterator[ServingView]:
        """One REPEATABLE READ, READ ONLY transaction: every read within sees the same instant."""
        with transaction(self._engine, "REPEATABLE READ", read_only=True) as connection:
            yield ServingView(connection)

    def city(self) -> CityInfo:
        """See `ServingView.city`."""
        with self.snapshot() as view:
            return view.city()

    def get_combined_heatmap_data(self) -> pd.DataFrame:
        """See `ServingView.get_combined_heatmap_data`."""
        with self.snapshot() as view:
            return view.get_combined_heatmap_data()

    def get_hourly(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """See `ServingView.get_hourly`."""
        with self.snapshot() as view:
            return view.get_hourly(start, end, locations)

    def get_daily(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """See `ServingView.get_daily`."""
        with self.snapshot() as view:
            return view.get_daily(start, end, locations)

    def get_peak_hours_analysis(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """See `ServingView.get_peak_hours_analysis`."""
        with self.snapshot() as view:
            return view.get_peak_hours_analysis(start, end, locations)

    def get_observed_peaks(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """See `ServingView.get_observed_peaks`."""
        with self.snapshot() as view:
            return view.get_observed_peaks(start, end, locations)

    def get_statistics(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """See `ServingView.get_statistics`."""
        with self.snapshot() as view:
            return view.get_statistics(start, end, locations)

    def get_raw_data(
        self, start: date, end: date, locations: Locations = None, limit: int | None = 500, offset: int = 0
    ) -> pd.DataFrame:
        """See `ServingView.get_raw_data`."""
        with self.snapshot() as view:
            return view.get_raw_data(start, end, locations, limit, offset)

    def get_freshness(self) -> pd.DataFrame:
        """See `ServingView.get_freshness`."""
        with self.snapshot() as view:
            return view.get_freshness()


def _typed(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """The frame with exactly the documented dtypes, also where it is empty or a column is all missing."""
    dtype: Any
    for name, dtype in columns.items():
        if dtype == frames.INSTANT:
            frame[name] = pd.to_datetime(frame[name], utc=True).astype(dtype)
        elif dtype == frames.DAY:
            frame[name] = pd.to_datetime(frame[name]).astype(dtype)
        else:
            frame[name] = frame[name].astype(dtype)
    return frame
