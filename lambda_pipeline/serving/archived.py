"""Observations that only the archive holds, as the raw reads of the view hand them over: filtered, sorted, in pieces.

What the table holds comes after all of it in time, so the two are read apart and put together. Memory stays flat: a
page keeps its own rows while it reads, a stream a part of a day.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from lambda_pipeline.archive.manifest import Manifest, load_manifests
from lambda_pipeline.archive.read import read_day
from lambda_pipeline.archive.store import Store
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.errors import ArchiveNeededError
from lambda_pipeline.serving import frames
from lambda_pipeline.serving.raw_choice import Half, RawFilter, RawSort
from lambda_pipeline.storage.sql import sql

MOST_ROWS = 500_000
"""Of a day, that a stream sorts at once."""
_INSTANT = pa.timestamp("us", tz="UTC")
_READ = (
    "timestamp", "location", "hour_start", "latitude", "longitude", "aqi_value", "aqi_category", "traffic_level",
    "current_speed", "free_flow_speed", "road_closure", "pollutants", "source", "log_partition", "log_offset",
)  # fmt: skip
_DECIDING = (
    "timestamp", "hour_start", "aqi_value", "aqi_category", "traffic_level", "current_speed", "log_partition",
    "log_offset",
)  # fmt: skip
_RANK = "_rank"  # of a location's name in the database's order, which is not Python's


@dataclass(frozen=True, slots=True)
class ArchivedRows:
    """The observations of some city days below the retention floor, and which of them are asked for."""

    connection: sa.Connection
    store: Store
    days: tuple[Manifest, ...]
    floor: datetime
    clock: CityClock
    locations: tuple[str, ...] | None
    where: RawFilter

    def page(self, sort: RawSort, *, descending: bool, most: int | None) -> pd.DataFrame:
        """The first `most` of them in this order, or all. Columns: `frames.RAW`, and what `in_order` needs."""
        ranks, best = self._ranks(), self._empty()
        is_by_time = sort is RawSort.TIMESTAMP
        days = reversed(self.days) if is_by_time and descending else self.days
        for day in days:
            of_day = self._empty() if is_by_time else best
            for frame in self._frames(day, ranks):
                of_day = in_order(pd.concat([of_day, frame], ignore_index=True), sort, descending=descending)
                of_day = of_day if most is None else of_day.head(most)
            best = pd.concat([best, of_day], ignore_index=True) if is_by_time else of_day
            if is_by_time and most is not None and len(best) >= most:
                break
        return best if most is None else best.head(most)

    def count(self, at_most: int) -> int:
        """How many there are; more than `at_most` where there are more."""
        found = 0
        for day in self.days:
            for batch in self._batches(day, _DECIDING):
                found += batch.num_rows
            if found > at_most:
                break
        return found

    def stream(self, chunk_rows: int) -> Iterator[pd.DataFrame]:
        """All of them, oldest first, in frames of at most `chunk_rows` rows and the columns of `frames.RAW`."""
        ranks = self._ranks()
        for day in self.days:
            for span in self._spans(day):
                pieces = list(self._frames(day, ranks, span))
                if not pieces:
                    continue
                part = in_order(pd.concat(pieces, ignore_index=True), RawSort.TIMESTAMP, descending=False)
                for start in range(0, len(part), chunk_rows):
                    yield plain(part.iloc[start : start + chunk_rows])

    def ranked(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame of the table's, with what `in_order` needs."""
        return frame.assign(**{_RANK: frame["location"].map(self._ranks()).astype("int64")})

    def _ranks(self) -> dict[str, int]:
        names = self.connection.execute(sa.text("select name from locations order by name")).scalars()
        return {name: rank for rank, name in enumerate(names)}

    def _empty(self) -> pd.DataFrame:
        columns = {name: pd.Series(dtype=dtype) for name, dtype in frames.RAW.items()}
        return pd.DataFrame({**columns, _RANK: pd.Series(dtype="int64")})

    def _spans(self, day: Manifest) -> list[tuple[datetime, datetime]]:
        """The day's hours, so many together that a span has a bounded number of rows."""
        query = sa.text(
            "select hour_start, sum(rows)::bigint as rows from raw_hours where city_date = :day "
            "group by hour_start order by hour_start"
        )
        spans: list[tuple[datetime, datetime]] = []
        rows = 0
        for hour in self.connection.execute(query, {"day": day.city_date}):
            end = hour.hour_start + timedelta(hours=1)
            if spans and rows + hour.rows <= MOST_ROWS:
                spans[-1], rows = (spans[-1][0], end), rows + hour.rows
            else:
                spans.append((hour.hour_start, end))
                rows = hour.rows
        return spans

    def _frames(
        self, day: Manifest, ranks: Mapping[str, int], span: tuple[datetime, datetime] | None = None
    ) -> Iterator[pd.DataFrame]:
        for batch in self._batches(day, _READ, span):
            columns = {name: batch.column(name) for name in _READ}
            hours = columns["hour_start"].to_pandas()
            peaks = {hour: self.clock.place(hour.to_pydatetime())[3] for hour in hours.unique()}
            made: dict[str, Any] = {"is_peak_hour": hours.map(peaks).astype("bool"), "layer": "batch"}
            frame = pd.DataFrame(
                {
                    name: pd.Series(made[name] if name in made else columns[name].to_pandas(), index=hours.index)
                    if name in made or dtype not in ("Int64", "boolean")
                    else pd.array(columns[name].to_pylist(), dtype=dtype)
                    for name, dtype in frames.RAW.items()
                }
            ).astype(dict(frames.RAW))
            yield frame.assign(**{_RANK: frame["location"].map(ranks).astype("int64")})

    def _batches(
        self, day: Manifest, columns: tuple[str, ...], span: tuple[datetime, datetime] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """What is served of a day, and asked for."""
        waiting = list(self.connection.execute(sql("serving/unpublished_hours"), {"day": day.city_date}))
        for batch in read_day(self.store, day, columns, self.locations):
            chosen = pc.less(batch.column("timestamp"), pa.scalar(self.floor, _INSTANT))
            if span is not None:
                for bound, compare in zip(span, (pc.greater_equal, pc.less), strict=True):
                    chosen = pc.and_(chosen, compare(batch.column("hour_start"), pa.scalar(bound, _INSTANT)))
            for hour in waiting:
                is_waiting = pc.and_(
                    pc.equal(batch.column("hour_start"), pa.scalar(hour.hour_start, _INSTANT)),
                    pc.equal(batch.column("log_partition"), pa.scalar(hour.log_partition, pa.int16())),
                )
                is_beyond = pc.greater_equal(batch.column("log_offset"), pa.scalar(hour.next_offset, pa.int64()))
                chosen = pc.and_(chosen, pc.invert(pc.and_(is_waiting, is_beyond)))
            for condition in self._conditions(batch):
                chosen = pc.and_(chosen, pc.fill_null(condition, fill_value=False))
            kept = batch.filter(chosen)
            if kept.num_rows:
                yield kept

    def _conditions(self, batch: pa.RecordBatch) -> Iterator[Any]:
        """As sql/serving and `raw._conditions` have them of the tables."""
        where = self.where
        if where.aqi_categories:
            yield pc.is_in(batch.column("aqi_category"), value_set=pa.array(where.aqi_categories, pa.string()))
        if where.traffic_levels:
            yield pc.is_in(batch.column("traffic_level"), value_set=pa.array(where.traffic_levels, pa.int16()))
        if where.missing is Half.AQI:
            yield pc.is_null(batch.column("aqi_value"))
        if where.missing is Half.TRAFFIC:
            yield pc.and_(pc.is_null(batch.column("traffic_level")), pc.is_null(batch.column("current_speed")))
        if where.is_peak_hour is not None:
            hours = pc.unique(batch.column("hour_start"))
            peaks = [hour for hour in hours.to_pylist() if self.clock.place(hour)[3] is where.is_peak_hour]
            yield pc.is_in(batch.column("hour_start"), value_set=pa.array(peaks, _INSTANT))


def days_below(connection: sa.Connection, first: date, until: date, floor: datetime) -> list[date]:
    """City days of [first, until) of which observations were stored that raw_data holds no more."""
    query = sa.text(
        "select distinct city_date from raw_hours "
        "where city_date >= :first and city_date < :until and hour_start < :floor order by city_date"
    )
    return list(connection.execute(query, {"first": first, "until": until, "floor": floor}).scalars())


def require_manifests(connection: sa.Connection, days: list[date]) -> tuple[Manifest, ...]:
    """The archives of days. Raises ArchiveNeededError where one cannot be relied on: never fewer rows than all."""
    found = load_manifests(connection, days[0], days[-1] + timedelta(days=1))
    named = {one.city_date: one for one in found}
    lost = [day for day in days if day not in named]
    if lost:
        raise ArchiveNeededError(
            f"the observations of {lost[0]} are in the archive alone, and its file cannot be relied on.",
            "Put it back from a backup of the archive.",
        )
    return tuple(named[day] for day in days)


def in_order(rows: pd.DataFrame, sort: RawSort, *, descending: bool) -> pd.DataFrame:
    """Sorted as `raw.page` sorts: missing values last, then newest first, then by location."""
    by = {
        RawSort.TIMESTAMP: (["timestamp", _RANK], [not descending, True]),
        RawSort.LOCATION: ([_RANK, "timestamp"], [not descending, False]),
    }.get(sort, ([sort.value, "timestamp", _RANK], [not descending, False, True]))
    return rows.sort_values(by[0], ascending=by[1], na_position="last", ignore_index=True)


def plain(rows: pd.DataFrame) -> pd.DataFrame:
    """In the columns and dtypes of `frames.RAW`."""
    return rows[list(frames.RAW)].astype(dict(frames.RAW)).reset_index(drop=True)
