"""The first system's tables: what both of its schemas look like, finding them, and moving them aside.

Its master branch had `raw_data` and `realtime_data`, its second branch `traffic_data` and `aqi_data` with a view named
`raw_data`; both had tables of aggregates. Any subset of them is taken, of any age: columns were added over time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from lambda_pipeline.errors import SchemaError
from lambda_pipeline.storage.sql import sql

SCHEMA = "legacy"
_ROLES = "lambda_owner, lambda_writer, lambda_reader"

_PLACE = {"id": "integer", "timestamp": "time", "location": "text", "latitude": "number", "longitude": "number"}
_LEVEL, _AQI = {"traffic_level": "number"}, {"aqi_value": "number"}
_SPEEDS = {"current_speed": "number", "free_flow_speed": "number"}

# Tables of observations, in the order in which they speak for a location and timestamp, with the columns (and their
# kinds of type) that they must have.
OBSERVATIONS: Mapping[str, Mapping[str, str]] = {
    "raw_data": _PLACE | _AQI | _LEVEL,
    "realtime_data": _PLACE | _AQI | _LEVEL,
    "traffic_data": _PLACE | _LEVEL | _SPEEDS,
    "aqi_data": _PLACE | _AQI,
}
AGGREGATES: Mapping[str, Mapping[str, str]] = {
    "batch_aggregations": {
        "date": "date", "hour": "number", "location": "text", "avg_aqi": "number", "avg_traffic": "number",
        "data_points_count": "number",
    },
    "peak_hours": {"analysis_date": "date", "peak_aqi_hour": "number", "peak_traffic_hour": "number"},
    "peak_hours_analysis": {
        "date": "date", "hour": "number", "location": "text", "avg_traffic_level": "number", "avg_aqi_value": "number",
    },
    "daily_summary": {"date": "date", "avg_aqi_jakarta": "number", "max_traffic_level": "number"},
}  # fmt: skip
_OPTIONAL = {"created_at": "time"}
_VIEWS: Mapping[str, Mapping[str, str]] = {"raw_data": _PLACE | _AQI | _LEVEL}
_TABLE, _VIEW = "r", "v"
_KINDS_OF_NUMBER = ("integer", "number")


@dataclass(frozen=True, slots=True)
class OldTables:
    """The first system's relations in a database, by name; `views` are those in the way of a table of ours."""

    tables: tuple[str, ...]
    views: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.tables or self.views)


def find_old_tables(connection: sa.Connection) -> OldTables:
    """The first system's tables in a database that is not ours yet; none in an empty one.

    Raises SchemaError where it holds other tables, or tables of these names that lack a column, where the schema
    `legacy` is taken, and where the user may not change the tables.
    """
    relations = list(connection.execute(sql("legacy/find_relations")))
    known = {_TABLE: {**OBSERVATIONS, **AGGREGATES}, _VIEW: _VIEWS}
    found: dict[str, list[str]] = {_TABLE: [], _VIEW: []}
    foreign, owners = [], set()
    for relation in relations:
        if _fits(relation.columns, known.get(relation.kind, {}).get(relation.name)):
            found[relation.kind].append(relation.name)
            if not relation.is_mine:
                owners.add(relation.owner)
        elif relation.kind not in (_VIEW, "m"):  # views of their own go on reading the tables that were moved
            foreign.append(relation.name)
    if foreign:
        raise SchemaError(
            f"the database is not empty and not ours; it holds {', '.join(foreign)}.",
            "Give lambda-pipeline a database of its own (DATABASE_URL).",
        )
    old = OldTables(tuple(found[_TABLE]), tuple(found[_VIEW]))
    if old:
        _require_rights(owners)
        _require_room(connection)
    return old


def move_aside(connection: sa.Connection, old: OldTables) -> None:
    """Move the old tables, with all that belongs to them, into the schema `legacy`, where our roles may read them."""
    connection.execute(sa.text(f"create schema if not exists {SCHEMA}"))
    for view in old.views:
        connection.execute(sa.text(f"alter view public.{view} set schema {SCHEMA}"))
    for table in old.tables:
        connection.execute(sa.text(f"alter table public.{table} set schema {SCHEMA}"))


def grant_reading(connection: sa.Connection) -> None:
    """Let our roles, which exist by now, read what was moved, and the owner put views beside it."""
    connection.execute(sa.text(f"grant usage on schema {SCHEMA} to {_ROLES}"))
    connection.execute(sa.text(f"grant create on schema {SCHEMA} to lambda_owner"))
    connection.execute(sa.text(f"grant select on all tables in schema {SCHEMA} to {_ROLES}"))


def has_old_aggregates(connection: sa.Connection) -> bool:
    """Whether an upgrade moved old aggregates aside, now or earlier."""
    found = connection.execute(sa.text("select to_regclass(:name)"), {"name": f"{SCHEMA}.batch_aggregations"})
    return found.scalar() is not None


def _fits(columns: Mapping[str, str], wanted: Mapping[str, str] | None) -> bool:
    if wanted is None or not wanted.keys() <= columns.keys():
        return False
    return all(_is_kind(columns[name], kind) for name, kind in (_OPTIONAL | dict(wanted)).items() if name in columns)


def _is_kind(found: str, wanted: str) -> bool:
    return found in _KINDS_OF_NUMBER if wanted == "number" else found == wanted


def _require_rights(owners: Iterable[str]) -> None:
    if owners:
        raise SchemaError(
            f"the first system's tables belong to {', '.join(sorted(owners))}, and this user may not move them.",
            "Upgrade as that user or as a superuser: set LAMBDA_OWNER_DATABASE_URL.",
        )


def _require_room(connection: sa.Connection) -> None:
    taken = connection.execute(
        sa.text("select exists (select from pg_class where relnamespace = to_regnamespace(:schema))"),
        {"schema": SCHEMA},
    )
    if taken.scalar():
        raise SchemaError(
            f"the first system's tables are to be moved to a schema {SCHEMA!r}, but it exists and is not empty.",
            f"Rename it: alter schema {SCHEMA} rename to another_name.",
        )
