"""docs/data-dictionary.md, out of a database's own comments."""

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

ROOMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "What to read": (
        "The union of both layers, for dashboards, notebooks and BI tools. Connect as `lambda_reader`.",
        (
            "current_conditions", "served_observations", "served_hourly", "served_city_hourly", "served_daily",
            "hourly_profile", "observed_peak_hours", "measure_bands",
        ),
    ),
    "By the first system's names": (
        "What readers of the first system's databases expect, beside the tables that keep their names below.",
        ("daily_summary", "traffic_data", "aqi_data"),
    ),
    "The speed layer": ("", ("realtime_data", "realtime_hourly", "latest_observations")),
    "The batch layer": (
        "", ("raw_data", "batch_aggregations", "city_hourly", "peak_hours_analysis", "peak_hours")
    ),
    "The boundary between them": (
        "Positions: which records each layer has read, and which the batch layer's results hold.",
        (
            "log_partitions", "stream_offsets", "raw_frontier", "raw_hours", "batch_coverage", "published_hours",
            "computed_days", "catch_up", "log_gaps", "dead_letters",
        ),
    ),
    "The archive": (
        "Whole days of `raw_data` as files in a folder or an object store ([archive.md](archive.md)).",
        ("raw_archives", "archive_leftovers", "raw_floor"),
    ),
    "What holds for all of it": (
        "",
        (
            "deployment", "locations", "aqi_bands", "traffic_levels", "peak_windows", "observed_peak_rules",
            "daemons", "schema_version",
        ),
    ),
    "What an upgrade set aside": ("", ("raw_data_duplicates", "raw_data_rejects")),
}  # fmt: skip
_HEAD = """# Data dictionary

Every table and view, as the database itself describes them (`\\d+` in psql shows the same). Times are instants
(`timestamp with time zone`); days and hours of the day are the city's. What may be missing is marked *null*.

<!-- made by `make docs` from sql/storage/comments.sql and the schema; do not edit -->
"""
_RELATIONS = """
select c.relname as relation, c.relkind in ('r', 'p') as is_table, obj_description(c.oid, 'pg_class') as text
from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
"""
_COLUMNS = """
select
    c.relname as relation, a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as is_required,
    a.attnum = any(coalesce(k.indkey::smallint[], '{}')) as is_key, col_description(c.oid, a.attnum) as text
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_index k on k.indrelid = c.oid and k.indisprimary
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
order by c.relname, a.attnum
"""


def missing(connection: sa.Connection) -> list[str]:
    """Relations without a room above, and whatever has no comment."""
    relations = connection.execute(sa.text(_RELATIONS)).all()
    columns = connection.execute(sa.text(_COLUMNS)).all()
    placed = {name for _, names in ROOMS.values() for name in names}
    return [
        *(f"{row.relation}: no room" for row in relations if row.relation not in placed),
        *(f"{name}: no such table" for name in sorted(placed - {row.relation for row in relations})),
        *(f"{row.relation}: no comment" for row in relations if not row.text),
        *(f"{row.relation}.{row.name}: no comment" for row in columns if not row.text),
    ]


def dictionary(connection: sa.Connection) -> str:
    """The page."""
    relations = {row.relation: row for row in connection.execute(sa.text(_RELATIONS))}
    columns = connection.execute(sa.text(_COLUMNS)).all()
    lines = [_HEAD]
    for room, (introduction, names) in ROOMS.items():
        lines += [f"## {room}", "", *([introduction, ""] if introduction else [])]
        for name in names:
            of_it = [row for row in columns if row.relation == name]
            lines += [
                f"### {name}",
                "",
                relations[name].text,
                "",
                *_table(of_it, is_table=relations[name].is_table),
                "",
            ]
    return "\n".join(lines).rstrip() + "\n"


def _table(columns: Sequence[sa.Row[Any]], *, is_table: bool) -> Iterable[str]:
    yield "| column | type | |"
    yield "| --- | --- | --- |"
    for row in columns:
        name = f"**{row.name}**" if row.is_key else row.name
        nullable = " *null*" if is_table and not row.is_required else ""
        yield f"| {name} | {row.type.replace('timestamp with time zone', 'timestamptz')}{nullable} | {row.text} |"
