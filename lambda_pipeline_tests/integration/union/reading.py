"""What the tables and views hold in one snapshot, and what they must hold of a model."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from statistics import fmean
from typing import Any

import sqlalchemy as sa

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.domain.air_quality import AQI_BANDS, UNKNOWN_CATEGORY, aqi_category
from lambda_pipeline.domain.observation import TOO_LATE
from lambda_pipeline.domain.traffic import TRAFFIC_LEVELS, traffic_level_name
from lambda_pipeline.storage.sql import sql
from lambda_pipeline_tests.integration.union.model import Key, Model, Row

MEASURES = (
    "data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic, "
    "speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count"
)
_CITY = "data_points_count, aqi_count, min_aqi, max_aqi, traffic_count, min_traffic, max_traffic"
_QUERIES = {
    "realtime_hourly": f"select hour_start, location, {MEASURES}, min_ratio, max_ratio from realtime_hourly",
    "batch_hourly": f"select hour_start, location, {MEASURES}, min_ratio, max_ratio from batch_aggregations "
    "where hour is not null",
    "city_hourly": f"select hour_start, locations, aqi_sum, traffic_sum, {_CITY}, aqi_locations, traffic_locations "
    "from city_hourly",
    "raw_hours": "select hour_start, log_partition, rows, max_offset from raw_hours",
    "published_hours": "select hour_start, rows from published_hours",
    "daily_aggregations": f"select date, location, {MEASURES}, min_ratio, max_ratio, peak_data_points_count, "
    "peak_aqi_sum, peak_traffic_sum from batch_aggregations where hour is null",
    "peak_hours_analysis": "select hour_start, location, avg_aqi_value, avg_traffic_level, is_peak_hour, "
    "total_records from peak_hours_analysis",
    "peak_hours": "select analysis_date, peak_aqi_hour, peak_aqi_value, peak_aqi_location, peak_traffic_hour, "
    "peak_traffic_value, peak_traffic_location from peak_hours",
    "served_hourly": f"select hour_start, location, layer, {MEASURES} from served_hourly",
    "served_city_hourly": f"select hour_start, layer, avg_aqi, {_CITY} from served_city_hourly",
    "served_daily": "select date, location, avg_aqi, avg_traffic, data_points_count, aqi_count, min_aqi, max_aqi, "
    "traffic_count, min_traffic, max_traffic from served_daily",
}
_KEY = ("location", "timestamp")
_ROW = (
    "log_partition", "log_offset", "hour_start", "city_date", "aqi_value", "traffic_level", "current_speed",
    "congestion_ratio",
)  # fmt: skip
_LATE = f"select log_partition, log_offset from dead_letters where starts_with(error, '{TOO_LATE}')"
_ALL_DAYS = date(2000, 1, 1), date(2100, 1, 1)
_PEAK_CITY_HOURS = {*range(6, 10), *range(16, 20)}


def found(connection: sa.Connection) -> dict[str, Any]:
    """What each table and view holds."""
    return {
        "realtime": _rows(connection, "realtime_data"),
        "raw": _rows(connection, "raw_data"),
        "offsets": dict(everything(connection, "select log_partition, next_offset from stream_offsets")),
        "frontier": dict(everything(connection, "select log_partition, next_offset from raw_frontier")),
        "coverage": {row[:2]: row[2] for row in everything(connection, "select * from batch_coverage")},
        "dead": set(everything(connection, "select log_partition, log_offset from dead_letters")),
        "late": everything(connection, f"{_LATE} and retried_at is null order by id"),
        "floor": connection.execute(sa.text("select max(floor_at) from raw_floor")).scalar(),
        "archives": {
            row[0]: (*row[1:3], {int(key): end for key, end in row[3].items()})
            for row in everything(connection, "select city_date, version, rows, covered from raw_archives")
        },
        **{name: sorted(everything(connection, query), key=str) for name, query in _QUERIES.items()},
        **{name: sorted(rows, key=str) for name, rows in _served_figures(connection).items()},
    }


def wanted(model: Model, city_hour: Callable[[datetime], int]) -> dict[str, Any]:
    """What each of them must hold. `city_hour` gives the hour of the day at which an hour starts."""
    batch = {key: row for rows in model.batch.values() for key, row in rows.items()}
    served = model.served()
    of = {key: row for key, (_, row) in served.items()}
    layers = _grouped(of, lambda key, row: (row.hour, key[0])), _grouped(of, lambda _, row: (row.hour,))
    raw_hours = _grouped(model.raw, lambda _, row: (row.hour, row.position[0]))
    tables = {
        "realtime_hourly": _hourly(model.realtime),
        "batch_hourly": _hourly(batch),
        "city_hourly": [
            (hour, len({key[0] for key, row in batch.items() if row.hour == hour}), _sum(rows, 0), _sum(rows, 1),
             *_city(rows), *_bands(batch, hour))
            for (hour,), rows in _grouped(batch, lambda _, row: (row.hour,)).items()
        ],
        "raw_hours": [(*group, len(rows), max(row.position[1] for row in rows)) for group, rows in raw_hours.items()],
        "published_hours": [(hour, len(rows)) for hour, rows in model.batch.items() if rows],
        "served_hourly": [
            (*group, _layer(served, *group), *_measures(rows)) for group, rows in layers[0].items()
        ],
        "served_city_hourly": [
            (*group, _layer(served, *group), _average(rows, 0), *_city(rows)) for group, rows in layers[1].items()
        ],
        "served_daily": [
            (*group, _average(rows, 0), _average(rows, 1), len(rows), *_short(rows, 0), *_short(rows, 1))
            for group, rows in _grouped(of, lambda key, row: (row.day, key[0])).items()
        ],
        "distribution": [
            ("aqi", *pair) for pair in _spread(of, 0, aqi_category).items() if pair[0] != UNKNOWN_CATEGORY
        ] + [
            ("traffic", *pair) for pair in _spread(of, 1, traffic_level_name).items() if pair[0] != UNKNOWN_CATEGORY
        ],
        "statistics": [
            (group[0] if group else None, _average(rows, 0), *_ends(rows, 0), _average(rows, 1), *_ends(rows, 1),
             len(rows), len(_known(rows, 0)), len(_known(rows, 1)))
            for key in (lambda key, _: (key[0],), lambda _, __: ())
            for group, rows in _grouped(of, key).items()
        ],
        **_day_tables(model, city_hour),
    }  # fmt: skip
    state = {name: getattr(model, name) for name in ("realtime", "offsets", "frontier", "coverage", "dead", "floor")}
    state |= {
        "raw": {key: row for key, row in model.raw.items() if not model.is_below(key[1])},
        "late": list(model.late),
        "archives": {day: (one.version, len(one.rows), one.covered) for day, one in model.archives.items()},
    }
    return state | {name: sorted(rows, key=str) for name, rows in tables.items()}


def _served_figures(connection: sa.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """What serving answers of all time from its shorter ways than hour by hour."""
    instants = [datetime.combine(day, time(), UTC) for day in _ALL_DAYS]
    values = dict(zip(("start", "end", "start_at", "end_at"), (*_ALL_DAYS, *instants), strict=True))
    spread = connection.execute(sql("serving/distribution"), values)
    figures = connection.execute(sql("serving/statistics"), {**values, "locations": None})
    return {
        "distribution": [(measure, band, hours) for measure, band, _, hours in spread if hours],
        "statistics": [(*row[:4], *row[5:8], *row[13:16]) for row in map(tuple, figures)],
    }


def late_letters(connection: sa.Connection) -> set[tuple[int, int]]:
    """The positions of all letters that came too late, also of those that were retried."""
    return set(everything(connection, _LATE))


def archived_rows(archive: Archive, day: date) -> dict[Key, Row]:
    """What a day's file holds."""
    (manifest,) = archive.days(day, day + timedelta(days=1))
    rows = [row for batch in archive.read(manifest, [*_KEY, *_ROW]) for row in batch.to_pylist()]
    found = {tuple(row[name] for name in _KEY): [row[name] for name in _ROW] for row in rows}
    assert len(found) == len(rows), "an observation is in a file twice"
    return {(key[0], key[1]): Row((row[0], row[1]), row[2], row[3], tuple(row[4:])) for key, row in found.items()}


def everything(connection: sa.Connection, query: str) -> list[tuple[Any, ...]]:
    """All rows, as plain tuples."""
    return [tuple(row) for row in connection.execute(sa.text(query))]


def _rows(connection: sa.Connection, table: str) -> dict[Key, Row]:
    query = f"select {', '.join((*_KEY, *_ROW))} from {table}"
    return {row[:2]: Row(row[2:4], row[4], row[5], row[6:]) for row in everything(connection, query)}


def _day_tables(model: Model, city_hour: Callable[[datetime], int]) -> dict[str, list[tuple[Any, ...]]]:
    """The tables of the days, each from the hours that it was computed from."""
    daily, analysis, worst = (
        {key: row for rows in model.days.get(table, {}).values() for key, row in rows.items()}
        for table in ("daily_aggregations", "peak_hours_analysis", "peak_hours")
    )

    def is_peak(row: Row) -> bool:
        return city_hour(row.hour) in _PEAK_CITY_HOURS

    return {
        "daily_aggregations": [
            (*group, *_measures(rows), *_ends(rows, 3), len(peak := [row for row in rows if is_peak(row)]),
             _sum(peak, 0), _sum(peak, 1))
            for group, rows in _grouped(daily, lambda key, row: (row.day, key[0])).items()
        ],
        "peak_hours_analysis": [
            (*group, _average(rows, 0), _average(rows, 1), is_peak(rows[0]), len(rows))
            for group, rows in _grouped(analysis, lambda key, row: (row.hour, key[0])).items()
        ],
        "peak_hours": [
            (day, *_worst(worst, day, 0, city_hour), *_worst(worst, day, 1, city_hour))
            for day in {row.day for row in worst.values()}
        ],
    }  # fmt: skip


def _worst(
    rows: dict[Key, Row], day: date, measure: int, city_hour: Callable[[datetime], int]
) -> tuple[int | None, float | None, str | None]:
    """(city hour, average, location); of equals the earlier hour, then the name."""
    groups = _grouped(rows, lambda key, row: (row.hour, key[0]))
    averages = [
        (-average, hour, location)
        for (hour, location), group in groups.items()
        if group[0].day == day and (average := _average(group, measure)) is not None
    ]
    if not averages:
        return None, None, None
    average, hour, location = min(averages)
    return city_hour(hour), -average, location


Group = list[Row]


def _grouped(rows: dict[Key, Row], group: Callable[[Key, Row], tuple[Any, ...]]) -> dict[tuple[Any, ...], Group]:
    groups: dict[tuple[Any, ...], Group] = {}
    for key, row in rows.items():
        groups.setdefault(group(key, row), []).append(row)
    return groups


def _hourly(rows: dict[Key, Row]) -> list[tuple[Any, ...]]:
    groups = _grouped(rows, lambda key, row: (row.hour, key[0]))
    return [(*group, *_measures(members), *_ends(members, 3)) for group, members in groups.items()]


def _spread(
    rows: dict[Key, Row], measure: int, band: Callable[[float | None], str], hour: datetime | None = None
) -> Counter[str]:
    """How many hours at one location have their average in which band; only of one hour, if one is given."""
    groups = _grouped(rows, lambda key, row: (row.hour, key[0]))
    return Counter(band(_average(members, measure)) for group, members in groups.items() if hour in (None, group[0]))


def _bands(rows: dict[Key, Row], hour: datetime) -> tuple[list[int], list[int]]:
    """Of an hour its locations by band, as city_hourly counts them."""
    air, road = _spread(rows, 0, aqi_category, hour), _spread(rows, 1, traffic_level_name, hour)
    return [air[band.category] for band in AQI_BANDS], [road[band.name] for band in TRAFFIC_LEVELS]


def _layer(served: dict[Key, tuple[str, Row]], hour: datetime, location: str | None = None) -> str:
    layers = {
        layer for key, (layer, row) in served.items() if row.hour == hour and location in (None, key[0])
    }  # fmt: skip
    return "both" if len(layers) == 2 else layers.pop()


def _known(rows: Group, measure: int) -> list[Any]:
    return [row.values[measure] for row in rows if row.values[measure] is not None]


def _sum(rows: Group, measure: int) -> int:
    return sum(_known(rows, measure))


def _average(rows: Group, measure: int) -> float | None:
    return fmean(known) if (known := _known(rows, measure)) else None


def _ends(rows: Iterable[Row], measure: int) -> tuple[Any, Any]:
    known = _known(list(rows), measure)
    return min(known, default=None), max(known, default=None)


def _short(rows: Group, measure: int) -> tuple[Any, ...]:
    return len(_known(rows, measure)), *_ends(rows, measure)


def _city(rows: Group) -> tuple[Any, ...]:
    return len(rows), *_short(rows, 0), *_short(rows, 1)


def _measures(rows: Group) -> tuple[Any, ...]:
    """As in MEASURES."""
    speeds = sum(round(speed * 1000) for speed in _known(rows, 2))
    ratios = sum(round(ratio * 1e9) for ratio in _known(rows, 3))
    return (
        len(rows), _sum(rows, 0), *_short(rows, 0), _sum(rows, 1), *_short(rows, 1), speeds, *_short(rows, 2), ratios,
        len(_known(rows, 3)),
    )  # fmt: skip
