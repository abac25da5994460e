"""The first system's way to take a message, written from its description.

It is known as "three pool checkouts, four statements and three commits per message", on its `master` schema, by
psycopg2, kafka-python and json, one message after the other. The description does not name the statements; these stand
for them, each the cheapest that does the job: keep the raw row; keep the realtime row and switch off the location's
outdated ones; read the hour's averages that tell whether it is a peak. Its indexes are taken to be the primary keys,
the unique keys of the schema, and one on the time and one on the location of both tables of rows.
"""

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from kafka import KafkaConsumer
from psycopg2.pool import SimpleConnectionPool

from benchmarks.load import LoadedTopic
from benchmarks.servers import Servers

_SCHEMA = """
create table raw_data (
    id serial primary key, timestamp timestamptz not null, location varchar(100) not null, latitude double precision,
    longitude double precision, aqi_value integer, traffic_level integer, is_processed boolean default false,
    created_at timestamptz default now());
create index on raw_data (timestamp);
create index on raw_data (location);
create table realtime_data (
    id serial primary key, timestamp timestamptz not null, location varchar(100) not null, latitude double precision,
    longitude double precision, aqi_value integer, traffic_level integer,
    processing_timestamp timestamptz default now(), is_active boolean default true);
create index on realtime_data (timestamp);
create index on realtime_data (location);
"""
_KEEP_RAW = """
insert into raw_data (timestamp, location, latitude, longitude, aqi_value, traffic_level)
values (%(timestamp)s, %(location)s, %(latitude)s, %(longitude)s, %(aqi_value)s, %(traffic_level)s)
"""
_KEEP_REALTIME = """
insert into realtime_data (timestamp, location, latitude, longitude, aqi_value, traffic_level)
values (%(timestamp)s, %(location)s, %(latitude)s, %(longitude)s, %(aqi_value)s, %(traffic_level)s)
"""
_SWITCH_OFF = """
update realtime_data set is_active = false
where location = %(location)s and is_active and timestamp < %(timestamp)s::timestamptz - interval '1 day'
"""
_READ_HOUR = """
select avg(aqi_value), avg(traffic_level) from realtime_data
where location = %(location)s and is_active and timestamp > %(timestamp)s::timestamptz - interval '1 hour'
"""


def run_first_system(servers: Servers, loaded: LoadedTopic, messages: int, *, pooled: bool) -> float:
    """Messages a second over this many, after a hundred to warm up.

    `pooled`: the three checkouts are from a pool; otherwise each message opens a connection of its own.
    """
    with servers.database("template0") as database:
        with closing(database.connect()) as connection:
            connection.execute(_SCHEMA)
        pool = SimpleConnectionPool(1, 10, database.url())
        consumer = KafkaConsumer(
            loaded.topic.name,
            **servers.connection.client_settings("first"),
            group_id=servers.name("first"),
            auto_offset_reset="earliest",
            value_deserializer=json.loads,
        )
        try:
            warm = 100
            started = 0.0
            for number, record in enumerate(consumer):
                if number == warm:
                    started = time.monotonic()
                if number == warm + messages:
                    break
                if pooled:
                    _process(pool, record.value)
                else:
                    one = SimpleConnectionPool(1, 1, database.url())
                    _process(one, record.value)
                    one.closeall()
            seconds = time.monotonic() - started
        finally:
            consumer.close()
            pool.closeall()
        with closing(database.connect()) as connection:
            _check(connection, warm + messages)
    return messages / seconds


def _process(pool: SimpleConnectionPool, message: dict[str, Any]) -> None:
    with _checkout(pool) as cursor:
        cursor.execute(_KEEP_RAW, message)
    with _checkout(pool) as cursor:
        cursor.execute(_KEEP_REALTIME, message)
        cursor.execute(_SWITCH_OFF, message)
    with _checkout(pool) as cursor:
        cursor.execute(_READ_HOUR, message)
        cursor.fetchone()


@contextmanager
def _checkout(pool: SimpleConnectionPool) -> Iterator[Any]:
    """A connection out of the pool for one piece of work, committed at its end."""
    connection = pool.getconn()
    try:
        with connection.cursor() as cursor:
            yield cursor
        connection.commit()
    finally:
        pool.putconn(connection)


def _check(connection: psycopg.Connection, messages: int) -> None:
    counted = connection.execute("select (select count(*) from raw_data), (select count(*) from realtime_data)")
    if counted.fetchone() != (messages, messages):
        raise RuntimeError("the first system's way lost messages.")
