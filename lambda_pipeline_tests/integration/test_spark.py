"""Spark in one process: the sums are PostgreSQL's, from a folder and from a bucket, and nothing is left or told."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import Manifest
from lambda_pipeline.batch.engines import spark
from lambda_pipeline.batch.engines.engine import SCHEMA
from lambda_pipeline.batch.engines.spark import SparkEngine
from lambda_pipeline.errors import ArchiveDamagedError
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.sql import sql_text
from lambda_pipeline_tests.integration.object_store import Where
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration
DAY = date(2025, 11, 2)  # 25 hours long in New York
START = datetime(2025, 11, 2, 4, tzinfo=UTC)
HOURS = [START + timedelta(hours=number) for number in range(49)]  # and those of the day after
_FILL = """
insert into raw_data (location, timestamp, hour_start, city_date, aqi_category, is_peak_hour, source, log_partition,
                      log_offset, aqi_value, traffic_level, current_speed, congestion_ratio)
select 'place ' || n %% 7, at, date_trunc('hour', at, 'UTC'), (at at time zone 'America/New_York')::date, 'Unknown',
    false, 'a test', 32767, n,
    case when n %% 7 > 0 and n %% 3 > 0 then n * 7919 %% 500 end,
    case when n %% 7 > 0 and n %% 5 > 0 then 1 + n %% 5 end,
    case when n %% 7 > 0 and n %% 4 > 0 then (n * 7907 %% 200001) / 2000.0 end,  -- halves of a metre an hour
    case when n %% 7 > 0 and n %% 6 > 0 then (n * 104729 %% 1000000 + 0.5) / 1e9 end
from generate_series(0, 1800) n, lateral (select timestamptz '2025-11-02T04:00:00.000001Z' + n * interval '97 s') t (at)
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[SparkEngine]:
    before = set(Path.cwd().iterdir())
    made = SparkEngine("local[2]", memory_mb=1024)
    folder, process = made.run._folder, made.run._gateway.proc
    try:
        yield made
    finally:
        made.close()
    assert process.poll() is not None
    assert not folder.exists()
    assert set(Path.cwd().iterdir()) == before


@pytest.fixture
def archive(database: Database, where: Where) -> Archive:
    with transaction(database.owner) as connection:
        for day in (2, 3, 4):
            connection.execute(sa.text(f"select ensure_raw_partition('2025-11-0{day}Z')"))
        connection.exec_driver_sql(_FILL)
        connection.exec_driver_sql(
            "insert into raw_hours select hour_start, log_partition, city_date, count(*), max(log_offset) "
            "from raw_data group by 1, 2, 3"
        )
    return Archive(database.writer, where.place, where.access)


def written(archive: Archive) -> list[Manifest]:
    found = [archive.write(DAY + timedelta(days=number), "a run") for number in range(2)]
    return [one for one in found if one is not None]


def rows(engine: SparkEngine, archive: Archive, manifests: list[Manifest], hours: list[datetime]) -> list[dict]:
    batches = list(engine.aggregate(archive, manifests, hours))
    assert all(one.schema.equals(SCHEMA) for one in batches)
    found = [row for one in batches for row in one.to_pylist()]
    return sorted(found, key=lambda row: (row["hour_start"], row["location"]))


def test_the_sums_are_those_of_postgresql(
    database: Database, engine: SparkEngine, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [hour for hour in HOURS if hour.hour != 7]
    observations = "with observations as (select * from raw_data where hour_start = any(:hours))"
    query = f"{observations} {sql_text('batch/aggregate_observations')}"
    expected = sorted(
        (dict(row._mapping) for row in database.rows(query, hours=asked)),
        key=lambda row: (row["hour_start"], row["location"]),
    )
    manifests = written(archive)
    assert len(manifests) == 2
    assert rows(engine, archive, manifests, asked) == expected
    assert len(expected) == 7 * (49 - 2)
    monkeypatch.setattr(spark, "_CHUNK_ROWS", 1)  # a day at a time
    assert rows(engine, archive, manifests, asked) == expected


def test_a_file_that_is_not_what_was_written_is_an_error_and_noted(
    database: Database, engine: SparkEngine, archive: Archive, where: Where
) -> None:
    manifests = written(archive)
    content = bytearray(where.bytes_of(manifests[1].path))
    content[len(content) // 2] ^= 0xFF
    where.overwrite(manifests[1].path, bytes(content))
    with pytest.raises(ArchiveDamagedError, match="the archive of 2025-11-03 is damaged"):
        rows(engine, archive, manifests, HOURS)
    assert [one.city_date for one in archive.days(DAY, DAY + timedelta(days=2))] == [DAY]


def test_what_spark_says_of_itself_has_no_keys_and_only_this_machine_reaches_it(
    engine: SparkEngine, archive: Archive
) -> None:
    rows(engine, archive, written(archive), HOURS)
    said = [str(engine.run.session.sparkContext.getConf().getAll()), str(dict(engine.describe()))]
    said += [one.read_text(errors="replace") for one in Path(engine.run._folder).glob("log*")]
    process = psutil.Process(engine.run._gateway.proc.pid)
    said.append(" ".join(process.cmdline()))
    assert not [one for one in said if "a-secret" in one or "a-key" in one]
    listening = [one.laddr.ip for one in process.net_connections() if one.status == psutil.CONN_LISTEN]
    assert {one.removeprefix("::ffff:") for one in listening} <= {"127.0.0.1", "::1"}
    assert listening
