"""`ServingLayer`: what `ServingView` reads, one consistent snapshot per call."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime

import pandas as pd
import sqlalchemy as sa

from lambda_pipeline.serving.raw_choice import EVERYTHING, RawFilter, RawSort
from lambda_pipeline.serving.view import ArchivePlace, CityInfo, Locations, ServingView
from lambda_pipeline.storage.engine import make_engine, transaction
from lambda_pipeline.storage.floor import hold_months

__all__ = ["ArchivePlace", "CityInfo", "Locations", "ServingLayer", "ServingView"]

# A plan for any range and any locations is the wrong one for most; compiling a plan takes longer than these reads.
_PLAN_FOR_VALUES = sa.text(
    "select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true)"
)


class ServingLayer:
    """The same reads, each in a transaction of its own; `snapshot()` for several that must agree.

    Raises DatabaseUnavailableError while the database is away, SchemaError where it has not the newest schema.
    """

    def __init__(self, engine: sa.Engine, archive: ArchivePlace | None = None) -> None:
        """`archive` is where observations are that the database holds no more; without it, reading them is an error."""
        self._engine = engine
        self._archive = archive

    @classmethod
    def open(cls, url: str, application: str, archive: ArchivePlace | None = None) -> "ServingLayer":
        """One on an address; `application` shows in pg_stat_activity. Raises SettingsError; connects later."""
        return cls(make_engine(url, application), archive)

    @contextmanager
    def snapshot(self) -> Iterator[ServingView]:
        """One REPEATABLE READ, READ ONLY transaction: every read within sees the same instant."""
        with transaction(self._engine, "REPEATABLE READ", read_only=True) as connection:
            hold_months(connection)
            connection.execute(_PLAN_FOR_VALUES)
            yield ServingView(connection, self._archive)

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

    def get_city_hourly(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """See `ServingView.get_city_hourly`."""
        with self.snapshot() as view:
            return view.get_city_hourly(start, end, locations)

    def get_hour(self, hour_start: datetime) -> pd.DataFrame:
        """See `ServingView.get_hour`."""
        with self.snapshot() as view:
            return view.get_hour(hour_start)

    def get_distribution(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """See `ServingView.get_distribution`."""
        with self.snapshot() as view:
            return view.get_distribution(start, end, locations)

    def get_raw_data(
        self,
        start: date,
        end: date,
        locations: Locations = None,
        limit: int | None = 500,
        offset: int = 0,
        *,
        where: RawFilter = EVERYTHING,
        sort: RawSort = RawSort.TIMESTAMP,
        descending: bool = True,
    ) -> pd.DataFrame:
        """See `ServingView.get_raw_data`."""
        with self.snapshot() as view:
            return view.get_raw_data(
                start, end, locations, limit, offset, where=where, sort=sort, descending=descending
            )

    def count_raw_data(
        self,
        start: date,
        end: date,
        locations: Locations = None,
        *,
        where: RawFilter = EVERYTHING,
        at_most: int = 100_000,
    ) -> int:
        """See `ServingView.count_raw_data`."""
        with self.snapshot() as view:
            return view.count_raw_data(start, end, locations, where=where, at_most=at_most)

    def get_dead_letters(self, limit: int = 100, offset: int = 0) -> pd.DataFrame:
        """See `ServingView.get_dead_letters`."""
        with self.snapshot() as view:
            return view.get_dead_letters(limit, offset)

    def get_freshness(self) -> pd.DataFrame:
        """See `ServingView.get_freshness`."""
        with self.snapshot() as view:
            return view.get_freshness()
