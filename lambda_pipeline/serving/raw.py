"""Statements over single observations: a page of them, how many there are, and all of them in order.

What a reader chose only ever picks columns and conditions that are written here; values are bound parameters. Each
layer's part is filtered, sorted and cut by itself, so that an index can serve it, and the two parts are then merged.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from lambda_pipeline.serving import frames
from lambda_pipeline.serving.raw_choice import Half, RawFilter, RawSort
from lambda_pipeline.storage.sql import sql

LAYERS = ("speed", "batch")
_COLUMNS: tuple[sa.ColumnClause[Any], ...] = (  # of sql/serving/raw_speed.sql and raw_batch.sql
    sa.column("timestamp", sa.DateTime(timezone=True)),
    sa.column("location", sa.Text),
    sa.column("hour_start", sa.DateTime(timezone=True)),
    sa.column("latitude", sa.Double),
    sa.column("longitude", sa.Double),
    sa.column("aqi_value", sa.Integer),
    sa.column("aqi_category", sa.Text),
    sa.column("traffic_level", sa.SmallInteger),
    sa.column("current_speed", sa.Double),
    sa.column("free_flow_speed", sa.Double),
    sa.column("road_closure", sa.Boolean),
    sa.column("pollutants", JSONB(none_as_null=True)),
    sa.column("source", sa.Text),
    sa.column("layer", sa.Text),
)
Locations = Sequence[str] | None


def page(
    locations: Locations, where: RawFilter, sort: RawSort, *, descending: bool, limit: int | None, offset: int
) -> sa.Select[Any]:
    """A page, in the columns of `frames.RAW`. Missing values come last, whichever the direction.

    Parameters left to bind: start_at, end_at.
    """
    parts = _parts(locations, where)
    if limit is not None:
        for layer, part in parts.items():
            order = _order(part.selected_columns, sort, descending=descending)
            if sort is RawSort.TIMESTAMP and layer == "speed":  # its index knows the hour, and the order is the same
                hour = part.selected_columns["hour_start"]
                order.insert(0, hour.desc() if descending else hour.asc())
            parts[layer] = part.order_by(*order).limit(limit + offset)
    return _merged(parts.values(), sort, descending=descending).limit(limit).offset(offset)


def everything(locations: Locations, where: RawFilter) -> sa.Select[Any]:
    """All of them, oldest first, in the columns of `frames.RAW`. Parameters left to bind: start_at, end_at."""
    return _merged(_parts(locations, where).values(), RawSort.TIMESTAMP, descending=False)


def count(locations: Locations, where: RawFilter, at_most: int) -> sa.Select[Any]:
    """How many there are, one more than `at_most` at the most. Parameters left to bind: start_at, end_at."""
    one: sa.ColumnElement[Any] = sa.literal_column("1").label("one")
    parts = [part.with_only_columns(one) for part in _parts(locations, where).values()]
    return sa.select(sa.func.count()).select_from(sa.union_all(*parts).limit(at_most + 1).subquery("found"))


def is_of_whole_hours(where: RawFilter) -> bool:
    """Whether the hours' counts say how many match: nothing is chosen but, perhaps, layers."""
    return RawFilter(layers=where.layers) == where


def layers_of(where: RawFilter) -> tuple[str, ...]:
    """The layers that are asked for."""
    return tuple(layer for layer in LAYERS if not where.layers or layer in where.layers)


def _parts(locations: Locations, where: RawFilter) -> dict[str, sa.Select[Any]]:
    """By layer its rows that match; never nothing at all, so that there is always something to select from."""
    layers = layers_of(where)
    parts: dict[str, sa.Select[Any]] = {}
    for layer in layers or LAYERS[:1]:
        rows = sql(f"serving/raw_{layer}").columns(*_COLUMNS).subquery(layer)
        part = sa.select(rows).where(*_conditions(rows.c, locations, where))
        parts[layer] = part if layers else part.where(sa.false())
    return parts


def _conditions(rows: Any, locations: Locations, where: RawFilter) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if locations is not None:
        found.append(_is_any(rows.location, list(locations), sa.Text))
    if where.aqi_categories:
        found.append(_is_any(rows.aqi_category, list(where.aqi_categories), sa.Text))
    if where.traffic_levels:
        found.append(_is_any(rows.traffic_level, list(where.traffic_levels), sa.Integer))
    if where.missing is Half.AQI:
        found.append(rows.aqi_value.is_(None))
    if where.missing is Half.TRAFFIC:
        found += [rows.traffic_level.is_(None), rows.current_speed.is_(None)]
    if where.is_peak_hour is not None:
        found.append(_is_peak_hour(rows) if where.is_peak_hour else sa.not_(_is_peak_hour(rows)))
    return found


def _is_any(column: Any, values: list[Any], kind: Any) -> sa.ColumnElement[bool]:
    return column == sa.any_(sa.literal(values, sa.ARRAY(kind)))  # type: ignore[no-any-return]


def _is_peak_hour(rows: Any) -> sa.ColumnElement[bool]:
    """Both sub-selects are read once by a statement, not once a row."""
    timezone = sa.select(sa.column("timezone")).select_from(sa.table("deployment")).scalar_subquery()
    city_hour = sa.cast(sa.extract("hour", sa.func.timezone(timezone, rows.hour_start)), sa.Integer)
    peaks = sa.select(sa.func.peak_city_hours()).scalar_subquery()
    return city_hour == sa.any_(sa.cast(peaks, sa.ARRAY(sa.Integer)))


def _order(rows: Any, sort: RawSort, *, descending: bool) -> list[sa.ColumnElement[Any]]:
    """The chosen column first, then newest first, then by location."""
    chosen = rows[sort.value].desc() if descending else rows[sort.value].asc()
    if sort is RawSort.TIMESTAMP:
        return [chosen, rows["location"]]
    if sort is not RawSort.LOCATION:  # which is never missing; PostgreSQL's indexes go by that
        chosen = chosen.nulls_last()
    return [chosen, rows["timestamp"].desc(), rows["location"]]


def _merged(parts: Iterable[sa.Select[Any]], sort: RawSort, *, descending: bool) -> sa.Select[Any]:
    """Both layers' rows as one, sorted, in the columns of `frames.RAW`."""
    rows = sa.union_all(*parts).subquery("served").c
    shown = {
        "pollutants": sa.cast(rows.pollutants, sa.Text).label("pollutants"),
        "is_peak_hour": _is_peak_hour(rows).label("is_peak_hour"),
    }
    columns: list[Any] = [shown[name] if name in shown else rows[name] for name in frames.RAW]
    return sa.select(*columns).order_by(*_order(rows, sort, descending=descending))
