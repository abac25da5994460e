"""Days that may not be taken from the archive, and an archive that fails: PostgreSQL computes them in the same run."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import Manifest
from lambda_pipeline.batch.archived import ArchiveSource
from lambda_pipeline.batch.engines.duckdb import DuckdbEngine
from lambda_pipeline.batch.engines.engine import ArchiveEngine
from lambda_pipeline.batch.publish import PublishRun, hours_to_publish, publish_hours
from lambda_pipeline_tests.integration.engines.engines import archive_all, change, days_of, prepared
from lambda_pipeline_tests.integration.object_store import Where
from lambda_pipeline_tests.integration.observations import DAY, DAY_AFTER, HOUR, ZONE, MemoryLog, seen, served
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration
TOMORROW = HOUR + timedelta(days=1)


@pytest.fixture
def log(database: Database) -> MemoryLog:
    """Two days of three hours in raw_data."""
    made = MemoryLog(database)
    for start in (HOUR, TOMORROW):
        for hour in range(3):
            for minute in range(0, 60, 10):
                made.append(seen(minute, "Krukut", aqi=minute + hour, hour=start + timedelta(hours=hour)))
    made.store()
    return made


@pytest.fixture
def duckdb() -> Iterator[DuckdbEngine]:
    with closing(DuckdbEngine(256)) as made:
        yield made


def publish_all(database: Database, source: ArchiveSource | None) -> PublishRun:
    hours = hours_to_publish(database.writer, DAY, DAY_AFTER + timedelta(days=1), everything=True)
    return publish_hours(database.writer, hours, ZONE, "a run", source=source)


def engines(database: Database) -> dict[date, str]:
    """Which engine published each day."""
    rows = database.rows("select city_date, string_agg(distinct engine, ' ') as by from published_hours group by 1")
    return {row.city_date: row.by for row in rows}


def results(database: Database) -> object:
    tables = ("batch_aggregations", "city_hourly")
    return {
        table: database.rows(f"select (to_jsonb(t) - 'id' - 'created_at')::text from {table} t order by 1")
        for table in tables
    }


def test_archived_days_are_published_by_the_engine_with_the_same_result(
    database: Database, log: MemoryLog, tmp_path: Path, duckdb: DuckdbEngine
) -> None:
    assert publish_all(database, None).by_engine == {"postgres": 6}
    before = results(database)
    change(database, "truncate batch_aggregations, city_hourly, batch_coverage, published_hours")
    source = ArchiveSource(archive_all(database, tmp_path), duckdb, days_of(database))
    run = publish_all(database, source)
    assert (run.hours, run.rows, run.by_engine) == (6, 36, {"duckdb": 6})
    assert (source.used.days, source.used.rows, source.used.fell_back) == (2, 36, [])
    assert results(database) == before
    assert engines(database) == {DAY: "duckdb", DAY_AFTER: "duckdb"}


def test_a_late_observation_makes_its_day_postgresqls(
    database: Database, log: MemoryLog, tmp_path: Path, duckdb: DuckdbEngine, caplog: pytest.LogCaptureFixture
) -> None:
    source = ArchiveSource(archive_all(database, tmp_path), duckdb, days_of(database))
    log.append(seen(1, "Krukut", aqi=7))
    log.store()
    with caplog.at_level(logging.WARNING):
        assert publish_all(database, source).by_engine == {"duckdb": 3, "postgres": 3}
    assert engines(database) == {DAY: "postgres", DAY_AFTER: "duckdb"}
    assert served(database) == ("batch", 7, 157, 7, 0, 0)
    why = "2025-06-02: raw_data holds other rows than its archive by now."
    assert f"{why} PostgreSQL computes its hours." in caplog.text
    assert source.used.fell_back == [why]


def test_what_is_stored_while_the_engine_reads_is_published_by_a_later_run(
    database: Database, log: MemoryLog, tmp_path: Path, duckdb: DuckdbEngine
) -> None:
    """The frontiers are those of the snapshot in which the day was found to be what its archive holds."""

    class Late(DuckdbEngine):
        def aggregate(
            self, archive: Archive, manifests: Sequence[Manifest], hours: Sequence[datetime]
        ) -> Iterator[pa.RecordBatch]:
            if log.end() == 36:
                log.append(seen(1, "Krukut", aqi=7))
                log.consume()
                log.store()
            return super().aggregate(archive, manifests, hours)

    archive = archive_all(database, tmp_path)
    with closing(Late(256)) as late:
        assert publish_all(database, ArchiveSource(archive, late, days_of(database))).by_engine == {"duckdb": 6}
    assert served(database) == ("both", 7, 157, 7, 0, 0)
    assert [hour.hour_start for hour in hours_to_publish(database.writer, DAY, DAY_AFTER)] == [HOUR]
    assert publish_all(database, None).moved == 1
    assert served(database) == ("batch", 7, 157, 7, 0, 0)


def test_the_speed_layers_rows_leave_as_they_do_without_an_archive(
    database: Database, log: MemoryLog, tmp_path: Path, duckdb: DuckdbEngine
) -> None:
    log.consume()
    source = ArchiveSource(archive_all(database, tmp_path), duckdb, days_of(database))
    run = publish_all(database, source)
    assert (run.moved, run.parity.compared, run.parity.differing, run.parity.drift) == (36, 36, 0, 0)
    assert database.scalar("select count(*) from realtime_data") == 0
    assert served(database) == ("batch", 6, 150, 6, 0, 0)


def test_a_damaged_file_is_noted_and_its_day_is_postgresqls(
    database: Database, log: MemoryLog, where: Where, duckdb: DuckdbEngine
) -> None:
    archive = Archive(database.writer, where.place, where.access)
    manifests = [archive.write(day, "a run") for day in days_of(database)]
    assert manifests[0] is not None
    content = bytearray(where.bytes_of(manifests[0].path))
    content[len(content) // 2] ^= 0xFF
    where.overwrite(manifests[0].path, bytes(content))
    expected = prepared(database, ZONE)[0]
    source = ArchiveSource(archive, duckdb, days_of(database))
    assert prepared(database, ZONE, source) == (expected, frozenset())
    assert "the archive of 2025-06-02 is damaged" in source.used.fell_back[0]
    assert [one.city_date for one in archive.days(DAY, DAY_AFTER + timedelta(days=1))] == [DAY_AFTER]
    found, archived = prepared(database, ZONE, source)
    assert (found, len(archived)) == (expected, 3)


def test_a_file_that_is_gone_is_noted_too(
    database: Database, log: MemoryLog, where: Where, duckdb: DuckdbEngine
) -> None:
    archive = Archive(database.writer, where.place, where.access)
    for day in days_of(database):
        archive.write(day, "a run")
    where.remove(archive.days(DAY, DAY_AFTER)[0].path)
    source = ArchiveSource(archive, duckdb, days_of(database))
    assert publish_all(database, source).by_engine == {"postgres": 6}
    assert archive.days(DAY, DAY_AFTER) == []


def test_a_place_that_is_away_is_asked_once_and_postgresql_does_all(
    database: Database, log: MemoryLog, tmp_path: Path, duckdb: DuckdbEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_pipeline.batch.publish.ARCHIVED_ROWS", 1)  # a chunk for each day
    archive = archive_all(database, tmp_path / "archive")
    before = archive.days(DAY, DAY_AFTER)
    (tmp_path / "archive").rename(tmp_path / "moved")
    (tmp_path / "archive").write_text("not a folder")
    source = ArchiveSource(archive, duckdb, days_of(database))
    assert publish_all(database, source).by_engine == {"postgres": 6}
    assert len(source.used.fell_back) == 1
    assert "cannot be read" in source.used.fell_back[0]
    assert archive.days(DAY, DAY_AFTER) == before, "what cannot be read is not damaged"


def test_an_engine_that_counts_other_rows_is_not_believed(
    database: Database, log: MemoryLog, tmp_path: Path, duckdb: DuckdbEngine
) -> None:
    class Loses(DuckdbEngine):
        def aggregate(
            self, archive: Archive, manifests: Sequence[Manifest], hours: Sequence[datetime]
        ) -> Iterator[pa.RecordBatch]:
            yield from super().aggregate(archive, manifests, hours[1:])

    archive = archive_all(database, tmp_path)
    expected = prepared(database, ZONE)
    with closing(Loses(256)) as loses:
        source = ArchiveSource(archive, loses, days_of(database))
        assert prepared(database, ZONE, source) == expected
    assert "(hour 2025-06-02T03:00:00+00:00: 0 rows, not 6)" in source.used.fell_back[0]


def test_an_engine_without_memory_leaves_all_to_postgresql(database: Database, log: MemoryLog, tmp_path: Path) -> None:
    archive = archive_all(database, tmp_path)
    expected = prepared(database, ZONE)
    with closing(DuckdbEngine(64)) as small:
        small._database.execute("set memory_limit = '1KiB'")
        source: ArchiveSource = ArchiveSource(archive, small, days_of(database))
        assert prepared(database, ZONE, source) == expected
    assert source.used.fell_back[0].startswith("2025-06-02 to 2025-06-03: DuckDB failed: Out of Memory Error")


def test_temporary_files_go_with_the_engine(database: Database, log: MemoryLog, where: Where) -> None:
    archive = Archive(database.writer, where.place, where.access)
    for day in days_of(database):
        archive.write(day, "a run")
    made: ArchiveEngine = DuckdbEngine(256)
    folder = made._folder  # type: ignore[attr-defined]
    prepared(database, ZONE, ArchiveSource(archive, made, days_of(database)))
    assert list(folder.rglob("*.parquet")) == []
    made.close()
    assert not folder.exists()
