"""A month leaves raw_data only when its archive was read back; what is served stays the same, and late events count."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.batch.archive import disagreement
from lambda_pipeline.batch.checks import look
from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.batch.raw_retention import RetentionRun, refuse_short
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.errors import ArchiveNeededError, ImportRefusedError, SettingsError
from lambda_pipeline.ingestion.redrive import AS_IT_IS, Fate, Fix
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.floor import raw_floor
from lambda_pipeline_tests.integration.archiving.days import PLACES, archived, change, rows_of, stale, visible
from lambda_pipeline_tests.integration.archiving.months import (
    FLOOR,
    LATER,
    RETENTION,
    drop,
    judge_anew,
    republish,
    results,
    retry,
)
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
    HOUR,
    NEXT_HOUR,
    ZONE,
    MemoryLog,
    contents,
    observed,
    publish,
    seen,
    served,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

RESULTS = ("batch_aggregations", "city_hourly")


def test_an_archived_month_is_dropped(database: Database, log: MemoryLog, in_a_folder: Archive) -> None:
    log.consume()
    publish(database, HOUR, NEXT_HOUR)
    manifest = archived(in_a_folder)
    before, hours = rows_of(in_a_folder, manifest), results(database)
    kept = contents(database, ("raw_hours", "batch_coverage", "published_hours", *RESULTS))
    assert drop(database, in_a_folder) == RetentionRun(["2025-06"], {})
    assert database.rows("select 1 from raw_data") == []
    with transaction(database.reader) as connection:
        assert raw_floor(connection) == FLOOR
    assert rows_of(in_a_folder, manifest) == before
    assert results(database) == hours
    assert contents(database, tuple(kept)) == kept
    assert drop(database, in_a_folder) == RetentionRun()
    assert stale(database) == []


def test_a_young_month_stays(database: Database, log: MemoryLog, in_a_folder: Archive) -> None:
    log.consume()
    publish(database, HOUR, NEXT_HOUR)
    archived(in_a_folder)
    # June in UTC has rows of 1 July in Jakarta, which ends there at 17:00 UTC
    last = datetime(2025, 7, 1, 17, tzinfo=UTC) + RETENTION
    assert drop(database, in_a_folder, last - timedelta(seconds=1)) == RetentionRun()
    assert drop(database, in_a_folder, last) == RetentionRun(["2025-06"], {})


def test_a_damaged_archive_keeps_the_month(
    database: Database, log: MemoryLog, in_a_folder: Archive, tmp_path: Path
) -> None:
    log.consume()
    publish(database, HOUR, NEXT_HOUR)
    file = tmp_path / "archive" / archived(in_a_folder).path
    whole = file.read_bytes()
    file.write_bytes(whole[:-100] + bytes(100))
    run = drop(database, in_a_folder)
    assert run.dropped == []
    assert "checksum" in run.kept["2025-06"]
    file.unlink()
    assert drop(database, in_a_folder).kept == {"2025-06": f"{DAY} has no verified archive"}
    assert len(database.rows("select 1 from raw_data")) == 2 * 12 * len(PLACES)
    archived(in_a_folder)
    assert drop(database, in_a_folder).dropped == ["2025-06"]


@pytest.mark.parametrize(
    ("change_it", "reason"),
    [
        ("delete from raw_archives", "has no verified archive"),
        ("update raw_archives set rows = rows - 1", "rows"),
        ("update raw_archives set covered = '{}'", "rows"),
        ("delete from batch_coverage", "not published"),
        ("update raw_hours set rows = rows + 1 where hour_start = (select min(hour_start) from raw_hours)", "rows"),
    ],
)
def test_what_does_not_agree_keeps_the_month(
    database: Database, log: MemoryLog, in_a_folder: Archive, change_it: str, reason: str
) -> None:
    log.consume()
    publish(database, HOUR, NEXT_HOUR)
    archived(in_a_folder)
    change(database, change_it)
    run = drop(database, in_a_folder)
    assert run.dropped == []
    assert reason in run.kept["2025-06"]
    assert len(database.rows("select 1 from raw_data")) == 2 * 12 * len(PLACES)


def test_a_row_in_the_speed_layer_keeps_the_month(database: Database, log: MemoryLog, in_a_folder: Archive) -> None:
    log.consume()
    publish(database, HOUR, NEXT_HOUR)
    archived(in_a_folder)
    log.append(seen(58, "Krukut", aqi=7))
    log.consume()  # and raw_data has not read it yet
    assert "speed layer" in drop(database, in_a_folder).kept["2025-06"]
    log.store()
    assert "does not hold" in drop(database, in_a_folder).kept["2025-06"]
    publish(database, HOUR)
    archived(in_a_folder)
    assert drop(database, in_a_folder).dropped == ["2025-06"]


def test_the_writer_can_drop_nothing_by_itself(database: Database, log: MemoryLog, in_a_folder: Archive) -> None:
    """Without having named the verified versions of all the days."""
    log.consume()
    publish(database, HOUR, NEXT_HOUR)
    manifest = archived(in_a_folder)
    for versions in ({}, {DAY.isoformat(): manifest.version + 1}):
        with transaction(database.writer) as connection:
            statement = sa.text("select drop_raw_month(:start, cast(:versions as jsonb))")
            found = connection.execute(statement, {"start": HOUR, "versions": json.dumps(versions)}).scalar()
        assert "archived anew" in str(found)
    with (
        pytest.raises(sa.exc.ProgrammingError, match="must be owner"),
        transaction(database.writer) as connection,
    ):
        connection.execute(sa.text("drop table raw_data_2025_06"))


def test_late_events_are_dead_letters_and_come_back_once(database: Database, log: MemoryLog, dropped: Archive) -> None:
    before = served(database)
    late, known = seen(58, "Krukut", aqi=77), seen(10, "Krukut", aqi=999)
    log.append(late, known)
    assert log.consume() == 0
    assert log.store() == 0
    letters = database.rows("select id, error from dead_letters order by id")
    assert [row.error.startswith("late for a month that only the archive holds") for row in letters] == [True, True]
    assert served(database) == before
    first = visible(dropped)
    assert [(one.fate, one.is_known) for one in retry(database, dropped)] == [
        (Fate.ARCHIVED, False), (Fate.ARCHIVED, True),
    ]  # fmt: skip
    assert retry(database, dropped) == []
    second = visible(dropped)
    assert first is not None
    assert second is not None
    assert second.rows == first.rows + 1
    assert disagreement(database.writer, dropped, second) == ""
    assert stale(database) == []
    assert served(database) == before  # not before its hour is published again
    assert republish(database, dropped) == 1
    assert before is not None
    assert served(database) == (before[0], before[1] + 1, before[2] + 77, before[3] + 1, *before[4:])  # type: ignore[operator]
    assert hours_to_publish(database.writer, DAY, DAY_AFTER) == []


def test_a_retry_with_other_values_changes_nothing(database: Database, log: MemoryLog, dropped: Archive) -> None:
    log.append(seen(58, "Krukut", aqi=77), seen(58, "Krukut", aqi=78))
    log.store()
    ids = [row.id for row in database.rows("select id from dead_letters order by id")]
    assert [one.is_known for one in retry(database, dropped, AS_IT_IS, ids[0])] == [False]
    assert [one.is_known for one in retry(database, dropped, Fix(fields={"aqi_value": 400}), ids[1])] == [True]
    manifest = visible(dropped)
    assert manifest is not None
    found = [row for row in rows_of(dropped, manifest) if row["timestamp"] == HOUR + timedelta(minutes=58)]
    assert [row["aqi_value"] for row in found] == [77]


def test_without_the_archive_letters_wait(database: Database, log: MemoryLog, dropped: Archive) -> None:
    log.append(seen(58, "Krukut", aqi=77))
    log.store()
    (found,) = retry(database, None)
    assert (found.fate, "LAMBDA_ARCHIVE_URL" in found.reason) == (Fate.REFUSED, True)
    (found,) = retry(database, dropped)
    assert found.fate == Fate.ARCHIVED


def test_a_damaged_file_leaves_the_letters_open(
    database: Database, log: MemoryLog, dropped: Archive, tmp_path: Path
) -> None:
    log.append(seen(58, "Krukut", aqi=77))
    log.store()
    manifest = visible(dropped)
    assert manifest is not None
    file = tmp_path / "archive" / manifest.path
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    before = contents(database)
    (found,) = retry(database, dropped)
    assert (found.fate, "damaged" in found.reason) == (Fate.REFUSED, True)
    assert contents(database) == before
    assert "damaged" in disagreement(database.writer, dropped, manifest)
    assert visible(dropped) == manifest  # there is no other
    file.write_bytes(whole)
    assert [one.fate for one in retry(database, dropped)] == [Fate.ARCHIVED]


def test_late_for_the_speed_layer_alone_is_no_dead_letter(
    database: Database, log: MemoryLog, in_a_folder: Archive
) -> None:
    """raw_data stored it in time, so batch serves it: the speed layer, which is behind, has nothing to add."""
    log.consume(end=90)
    publish(database, HOUR, NEXT_HOUR)
    archived(in_a_folder)
    assert drop(database, in_a_folder).dropped == ["2025-06"]
    judge_anew(database, log)
    before = served(database, NEXT_HOUR)
    assert log.consume() == 0
    assert database.rows("select * from dead_letters") == []
    assert served(database, NEXT_HOUR) == before


def test_all_hours_again_out_of_the_archive(database: Database, log: MemoryLog, dropped: Archive) -> None:
    before = results(database)
    assert republish(database, dropped, everything=True) == 2
    assert results(database) == before
    with pytest.raises(ArchiveNeededError, match="LAMBDA_ARCHIVE_URL"):
        republish(database, None, everything=True)
    assert results(database) == before


def test_what_raw_data_still_holds_needs_no_archive(database: Database, in_a_folder: Archive) -> None:
    """Hours below the floor and above it are prepared together: only those below it come out of a file."""
    early, day = datetime(2025, 5, 31, 20, tzinfo=UTC), date(2025, 6, 1)
    log = MemoryLog(database)
    log.append(seen(1, "Krukut", aqi=1, hour=early), seen(2, "Krukut", aqi=2))
    log.store()
    publish(database, early, HOUR)
    archived(in_a_folder, day)
    assert drop(database, in_a_folder, datetime(2025, 7, 10, tzinfo=UTC)).dropped == ["2025-05"]
    assert stale(database, DAY, DAY_AFTER) == [(DAY, 1)]
    before = results(database)
    assert republish(database, in_a_folder, everything=True, days=(day, DAY_AFTER)) == 2
    assert results(database) == before


def test_checks_know_the_floor(database: Database, log: MemoryLog, dropped: Archive) -> None:
    days, clock = (DAY, DAY_AFTER), CityClock(ZONE)
    for name in ("hourly_counts", "raw_values", "union"):
        assert look(database.writer, name, clock, days, LATER).passed, name
    log.append(seen(58, "Krukut", aqi=77))
    log.store()
    retry(database, dropped)
    assert look(database.writer, "hourly_counts", clock, days, LATER).passed
    change(database, "update batch_aggregations set data_points_count = data_points_count + 1 where hour_start = "
           f"'{NEXT_HOUR.isoformat()}' and location = 'Krukut'")  # fmt: skip
    assert not look(database.writer, "hourly_counts", clock, days, LATER).passed


def test_the_day_between_two_months(database: Database, in_a_folder: Archive) -> None:
    """1 June in Jakarta begins on 31 May in UTC: half of it stays in raw_data, and all of it in the archive."""
    first, second = datetime(2025, 5, 31, 20, tzinfo=UTC), datetime(2025, 6, 1, 5, tzinfo=UTC)
    day, days = date(2025, 6, 1), (date(2025, 6, 1), date(2025, 6, 2))
    log = MemoryLog(database)
    log.append(*[seen(minute, "Krukut", aqi=minute, hour=hour) for hour in (first, second) for minute in range(9)])
    log.store()
    log.consume()
    publish(database, first, second)
    archived(in_a_folder, day)
    assert drop(database, in_a_folder, datetime(2025, 7, 10, tzinfo=UTC)).dropped == ["2025-05"]
    judge_anew(database, log)
    assert len(database.rows("select 1 from raw_data")) == 9
    log.append(seen(30, "Krukut", aqi=30, hour=second), seen(31, "Krukut", aqi=31, hour=first))
    log.store()
    assert stale(database, *days) == [(day, 19)]
    whole = archived(in_a_folder, day)
    assert whole.rows == 19
    assert disagreement(database.writer, in_a_folder, whole) == ""
    assert [one.fate for one in retry(database, in_a_folder)] == [Fate.ARCHIVED]
    newest = visible(in_a_folder, day)
    assert newest is not None
    assert newest.rows == 20
    assert disagreement(database.writer, in_a_folder, newest) == ""
    hours = hours_to_publish(database.writer, *days)
    assert [hour.rows for hour in hours] == [10, 10]
    assert publish_hours(database.writer, hours, ZONE, "again", archive=in_a_folder.store).rows == 20
    assert [row[2] for row in results(database)] == [10, 10]
    before = results(database)
    assert drop(database, in_a_folder) == RetentionRun(["2025-06"], {})
    assert republish(database, in_a_folder, everything=True, days=days) == 2
    assert results(database) == before


def test_an_import_below_the_floor_is_refused(database: Database, log: MemoryLog, dropped: Archive) -> None:
    with transaction(database.writer) as connection:
        deployment = load_deployment(connection)
    assert deployment.raw_floor == FLOOR
    change(database, "delete from raw_floor")
    early = observed(database, seen(58, "Krukut", aqi=3))
    change(database, f"insert into raw_floor (floor_at) values ('{FLOOR.isoformat()}')")
    before = contents(database)
    with pytest.raises(ImportRefusedError, match="dropped from raw_data"):
        import_observations(database.writer, early, "import:late.csv")
    assert contents(database) == before
    with pytest.raises(sa.exc.DBAPIError, match="does not hold 2025-06"), transaction(database.writer) as connection:
        connection.execute(sa.text("select ensure_raw_partition(:at)"), {"at": HOUR})


@pytest.mark.parametrize("topic", [None, timedelta(days=30), timedelta(days=31)])
def test_less_than_the_topic_keeps_is_refused(topic: timedelta | None) -> None:
    with pytest.raises(SettingsError, match="LAMBDA_RAW_RETENTION_DAYS is 30"):
        refuse_short(RETENTION, topic)


def test_more_than_the_topic_keeps_is_fine() -> None:
    refuse_short(RETENTION, timedelta(days=29))


def test_a_reader_in_between_is_waited_for(database: Database, log: MemoryLog, in_a_folder: Archive) -> None:
    """Whoever has a snapshot of raw_data and of the old floor reads on; the month goes the next time."""
    log.consume()
    publish(database, HOUR, NEXT_HOUR)
    archived(in_a_folder)
    with transaction(database.reader, "REPEATABLE READ", read_only=True) as connection:
        connection.execute(sa.text("lock table only raw_data in access share mode"))
        assert raw_floor(connection) is None
        assert "being read" in drop(database, in_a_folder).kept["2025-06"]
        assert connection.execute(sa.text("select count(*) from raw_data")).scalar() == 2 * 12 * len(PLACES)
    assert drop(database, in_a_folder).dropped == ["2025-06"]
