"""`ServingView`: typed reads over the SQL views, within one snapshot."""

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa

from lambda_pipeline.archive.place import Place, S3Access
from lambda_pipeline.archive.store import Store
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.peak_hours import PeakWindow
from lambda_pipeline.errors import ArchiveNeededError
from lambda_pipeline.serving import frames, raw
from lambda_pipeline.serving.archived import ArchivedRows, days_below, in_order, plain, require_manifests
from lambda_pipeline.serving.raw_choice import EVERYTHING, RawFilter, RawSort
from lambda_pipeline.serving.reading import read_frame, stream_frames
from lambda_pipeline.storage.deployment import load_city
from lambda_pipeline.storage.floor import raw_floor
from lambda_pipeline.storage.sql import sql

ArchivePlace = tuple[Place, S3Access]
Locations = Sequence[str] | None
MEASURES = ("aqi", "traffic")
LETTER_BYTES = 2_000  # of a dead letter's key and payload that are shown


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

    def __init__(self, connection: sa.Connection, archive: "ArchivePlace | None" = None) -> None:
        """`archive` is where observations are that raw_data holds no more; reading such ones without it is an error."""
        self._connection = connection
        self._archive = archive
        self._known_clock: CityClock | None = None

    def city(self) -> CityInfo:
        """Whose data this is. Raises SchemaError where the database was never set up."""
        name, timezone, history_start, windows = load_city(self._connection)
        return CityInfo(name, timezone, windows, history_start)

    def get_combined_heatmap_data(self) -> pd.DataFrame:
        """Where things stand now: a row per location, sorted by name. Columns: `frames.HEATMAP`.

        Ages are seconds at the database's clock; `is_peak_hour` says whether the observation was made at a peak hour.
        """
        ages = {"age_seconds": "observed_at", **{f"{one}_age_seconds": f"{one}_observed_at" for one in MEASURES}}
        found = self._frame("heatmap", {name: dtype for name, dtype in frames.HEATMAP.items() if name not in ages})
        now = pd.Timestamp(self.scalar(sa.select(sa.func.now())))
        aged = {age: (now - found[since]).dt.total_seconds() for age, since in ages.items()}
        return found.assign(**aged)[list(frames.HEATMAP)]

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

    def get_city_hourly(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """Hours of the city days [start, end) over all locations or the chosen ones, weighted by observations.

        By hour. Columns: `frames.CITY_HOURLY`; no row for an hour without observations.
        """
        query = "city_hourly" if locations is None else "city_hourly_of"
        return self._frame(query, frames.CITY_HOURLY, self._range(start, end, locations))

    def get_hour(self, hour_start: datetime) -> pd.DataFrame:
        """One hour by location, `hour_start` being the aware instant at which it starts. Columns: `frames.HOUR`."""
        return self._frame("hour", frames.HOUR, {"hour_start": hour_start})

    def get_distribution(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """In which bands the hours of the city days [start, end) are, counted at each location by its average.

        Columns: `frames.DISTRIBUTION`; every band has its row, also one with no hour.
        """
        query = "distribution" if locations is None else "distribution_of"
        return self._frame(query, frames.DISTRIBUTION, self._range(start, end, locations))

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
        """A page of the observations of the city days [start, end) that match, sorted as asked.

        Missing values come last, whichever the direction. Columns: `frames.RAW`.
        """
        archived = self._archived(start, end, locations, where)
        if archived is None:
            statement = raw.page(locations, where, sort, descending=descending, limit=limit, offset=offset)
            return self._frame(statement, frames.RAW, self._instants(start, end))
        most = None if limit is None else limit + offset
        statement = raw.page(locations, where, sort, descending=descending, limit=most, offset=0)
        rows = self._frame(statement, frames.RAW, self._instants(start, end))
        if most is None or len(rows) < most or sort is not RawSort.TIMESTAMP or not descending:
            older = archived.page(sort, descending=descending, most=most)
            rows = in_order(pd.concat([archived.ranked(rows), older]), sort, descending=descending)
        return plain(rows.iloc[offset:most])

    def count_raw_data(
        self,
        start: date,
        end: date,
        locations: Locations = None,
        *,
        where: RawFilter = EVERYTHING,
        at_most: int = 100_000,
    ) -> int:
        """How many observations of the city days [start, end) match; `at_most` + 1 means more than `at_most`."""
        if raw.is_of_whole_hours(where):
            layers = raw.layers_of(where)
            values = self._range(start, end, locations) | {f"is_{layer}": layer in layers for layer in raw.LAYERS}
            return min(int(self.scalar(sql("serving/raw_total"), values)), at_most + 1)
        found = int(self.scalar(raw.count(locations, where, at_most), self._instants(start, end)))
        archived = self._archived(start, end, locations, where)
        if archived is not None and found <= at_most:
            found = min(found + archived.count(at_most - found), at_most + 1)
        return found

    def stream_raw_data(
        self,
        start: date,
        end: date,
        locations: Locations = None,
        chunk_rows: int = 100_000,
        *,
        where: RawFilter = EVERYTHING,
    ) -> Iterator[pd.DataFrame]:
        """All observations of the city days [start, end) that match, oldest first, in frames of `chunk_rows` rows."""
        archived = self._archived(start, end, locations, where)
        if archived is not None:
            yield from archived.stream(chunk_rows)
        statement = raw.everything(locations, where)
        yield from stream_frames(self._connection, statement, self._instants(start, end), frames.RAW, chunk_rows)

    def _archived(self, start: date, end: date, locations: Locations, where: RawFilter) -> "ArchivedRows | None":
        """What the archive alone holds of the range; None where it holds nothing of it.

        Raises ArchiveNeededError where it is not known here: fewer rows must never look as if they were all.
        """
        floor = raw_floor(self._connection)
        if floor is None or "batch" not in raw.layers_of(where) or self._instants(start, end)["start_at"] >= floor:
            return None
        days = days_below(self._connection, start, end, floor)
        if not days:
            return None
        if self._archive is None:
            raise ArchiveNeededError(
                f"the observations before {self._clock().local(floor):%Y-%m-%d %H:%M %Z} are in the archive alone.",
                "Set LAMBDA_ARCHIVE_URL to where it is, or choose later days.",
            )
        return ArchivedRows(
            self._connection, Store(*self._archive), require_manifests(self._connection, days), floor,
            self.city().clock(), None if locations is None else tuple(locations), where,
        )  # fmt: skip

    def get_dead_letters(self, limit: int = 100, offset: int = 0) -> pd.DataFrame:
        """Messages that could not be read, newest first, a page of them. Columns: `frames.DEAD_LETTERS`."""
        values = {"limit": limit, "offset": offset, "bytes": LETTER_BYTES}
        letters = self._frame("dead_letters", {**frames.DEAD_LETTERS, "key": "object", "payload": "object"}, values)
        for column in ("key", "payload"):
            letters[column] = pd.array([_text(message) for message in letters[column]], dtype="str")
        return letters

    def get_freshness(self) -> pd.DataFrame:
        """How fresh each layer is: "speed", then "batch". Columns: `frames.FRESHNESS`."""
        return self._frame("freshness", frames.FRESHNESS)

    def _range(self, start: date, end: date, locations: Locations) -> dict[str, Any]:
        days = {"start": start, "end": end, "locations": None if locations is None else list(locations)}
        return days | self._instants(start, end)

    def _instants(self, start: date, end: date) -> dict[str, datetime]:
        """City days as the instants at which they start: a day may begin at a midnight that comes twice."""
        clock = self._clock()
        return {"start_at": clock.day_start(start), "end_at": clock.day_start(end)}

    def _clock(self) -> CityClock:
        if self._known_clock is None:
            timezone = self._connection.execute(sa.text("select timezone from deployment")).scalar()
            # a database that is nobody's says so itself
            self._known_clock = CityClock(str(timezone)) if timezone is not None else self.city().clock()
        return self._known_clock

    def scalar(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> Any:
        """One value of this snapshot."""
        return self._connection.execute(statement, values or {}).scalar_one()

    def rows(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> Sequence[sa.Row[Any]]:
        """All rows, in this snapshot."""
        return self._connection.execute(statement, values or {}).all()

    def _frame(
        self, query: str | sa.ClauseElement, columns: Mapping[str, str], values: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """The rows of a statement, or of the one in sql/serving/, whose columns are these in their order."""
        statement = sql(f"serving/{query}") if isinstance(query, str) else query
        return read_frame(self._connection, statement, values or {}, columns)


def _text(message: bytes | None) -> str | None:
    """UTF-8 as far as it is; a character that was cut off at the end is left out."""
    return None if message is None else codecs.getincrementaldecoder("utf-8")("replace").decode(message)
