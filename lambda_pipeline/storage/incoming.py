"""Observations on their way into a table: both layers COPY into the same temporary table and insert from there."""

from collections.abc import Iterable

import psycopg
import sqlalchemy as sa

from lambda_pipeline.domain.log import Incoming
from lambda_pipeline.storage.sql import sql, sql_text

_COLUMNS: dict[str, str] = {  # name: PostgreSQL type, in the order of the rows
    "location": "text",
    "timestamp": "timestamptz",
    "hour_start": "timestamptz",
    "city_date": "date",
    "latitude": "float8",
    "longitude": "float8",
    "aqi_value": "int4",
    "aqi_category": "varchar",
    "traffic_level": "int2",
    "current_speed": "float8",
    "free_flow_speed": "float8",
    "congestion_ratio": "float8",
    "road_closure": "bool",
    "is_peak_hour": "bool",
    "pollutants": "text",
    "source": "text",
    "log_partition": "int2",
    "log_offset": "int8",
    "aqi_measured_at": "timestamptz",
    "dominant_pollutant": "text",
    "attributions": "text",
}
_COPY = f"copy incoming ({', '.join(_COLUMNS)}) from stdin (format binary)"


def copy_incoming(connection: sa.Connection, rows: Iterable[Incoming]) -> None:
    """Put rows into the transaction's empty temporary table `incoming`, by binary COPY."""
    driver = driver_connection(connection)
    with driver.cursor() as cursor:
        cursor.execute(sql_text("storage/create_incoming"))
        with cursor.copy(_COPY) as copy:
            copy.set_types(list(_COLUMNS.values()))
            for row in rows:
                copy.write_row(row.observation + row[1:])


def upsert_latest(connection: sa.Connection) -> None:
    """Bring `latest_observations` up to what `incoming` holds: per measure the newest wins, the stored one on a tie."""
    connection.execute(sql("storage/upsert_latest"))


def driver_connection(connection: sa.Connection) -> "psycopg.Connection[tuple[object, ...]]":
    """psycopg's connection under SQLAlchemy's, for COPY, in the same transaction."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError(f"expected a psycopg connection, got {type(driver)}")
    return driver
