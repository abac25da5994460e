"""raw_archive in Dagster: what a run does with and without a place for it, its check, its schedule, the command."""

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from lambda_pipeline.automation.backfill import BackfillReport, run_backfill
from lambda_pipeline.automation.jobs import ARCHIVE_JOB_NAME, build_archive_job, resources
from lambda_pipeline.automation.schedules import build_archive_schedule
from lambda_pipeline.batch.archive import build_archive, build_archive_check
from lambda_pipeline.batch.assets import build_assets
from lambda_pipeline.batch.surroundings import SURROUNDINGS
from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.stream.topic import Topic
from lambda_pipeline_tests.cli.in_process import Call
from lambda_pipeline_tests.integration.dagster_runs import PLACES, Produce
from lambda_pipeline_tests.integration.object_store import Where, in_folder
from lambda_pipeline_tests.integration.serving.data import message
from lambda_pipeline_tests.servers import HISTORY_START, Database

pytestmark = pytest.mark.integration

ZONE = "Asia/Jakarta"
FIRST, UNTIL = date(2025, 3, 3), date(2025, 3, 6)
START = datetime(2025, 3, 2, 17, tzinfo=UTC)  # the first day's midnight in Jakarta
HOURS = [0, 1, 30, 31, 32, 60]  # two, three and one on the three days


@pytest.fixture
def observed(topic: Topic, produce: Produce) -> None:
    produce([message(PLACES[0], START + timedelta(hours=hour), aqi=hour) for hour in HOURS])


def name(monkeypatch: pytest.MonkeyPatch, where: Where) -> None:
    """Set what names the archive."""
    for variable, value in where.settings().items():
        monkeypatch.setenv(variable, value)


def archive(city: City, first: date = FIRST, until: date = UNTIL, **options: bool) -> BackfillReport:
    return run_backfill(city, HISTORY_START, first, until, assets=["raw_archive"], **options)


def store(city: City) -> None:
    run_backfill(city, HISTORY_START, FIRST, UNTIL, assets=["raw_data"])


def manifests(database: Database) -> list[tuple[object, ...]]:
    return [tuple(row) for row in database.rows("select city_date::text, version, rows from raw_archives order by 1")]


@pytest.mark.usefixtures("observed")
def test_without_a_place_a_run_succeeds_does_nothing_and_materializes_nothing(
    database: Database, jakarta: City
) -> None:
    store(jakarta)
    report = archive(jakarta)
    assert (report.assets, report.partitions, report.failed_checks) == ({}, {}, [])
    assert manifests(database) == []
    with dg.DagsterInstance.get() as instance:
        (run, *_) = instance.get_runs()
        assert (run.job_name, run.status) == (ARCHIVE_JOB_NAME, dg.DagsterRunStatus.SUCCESS)
        said = [event.user_message for event in instance.all_logs(run.run_id)]
    assert any("No archive is configured (LAMBDA_ARCHIVE_URL)." in line for line in said)


@pytest.mark.usefixtures("observed")
def test_a_run_archives_its_stale_days_and_its_check_agrees(
    database: Database, jakarta: City, where: Where, monkeypatch: pytest.MonkeyPatch, produce: Produce
) -> None:
    name(monkeypatch, where)
    store(jakarta)
    report = archive(jakarta)
    found = report.assets["raw_archive"]
    assert (found["days_written"], found["rows_written"], found["window_rows"]) == (3, 6, 6)
    assert found["place"] == str(where.place)
    assert found["bytes_written"] == sum(len(where.bytes_of(path)) for path in where.paths())
    assert (report.partitions, report.failed_checks) == ({"raw_archive": 3}, [])
    assert manifests(database) == [("2025-03-03", 1, 2), ("2025-03-04", 1, 3), ("2025-03-05", 1, 1)]
    with dg.DagsterInstance.get() as instance:
        records = instance.fetch_materializations(dg.AssetKey("raw_archive"), limit=10).records
        checks = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey("raw_archive"), "archive_agrees"), limit=10
        )
    of_day = {one.partition_key: one.asset_materialization.metadata for one in records}  # type: ignore[union-attr]
    assert {day: one["dagster/partition_row_count"].value for day, one in of_day.items()} == {
        "2025-03-03": 2, "2025-03-04": 3, "2025-03-05": 1,
    }  # fmt: skip
    assert {str(one["path"].value) for one in of_day.values()} == set(where.paths())
    evaluated = [
        one.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
        for one in checks
        if one.status is AssetCheckExecutionRecordStatus.SUCCEEDED
    ]
    assert {one.description for one in evaluated} == {"3 archived days agree with raw_data."}

    produce([message(PLACES[0], START + timedelta(hours=30, minutes=6), aqi=5)])
    store(jakarta)
    assert archive(jakarta).assets["raw_archive"]["days_written"] == 1
    assert archive(jakarta).assets["raw_archive"]["days_written"] == 0
    assert manifests(database) == [("2025-03-03", 1, 2), ("2025-03-04", 2, 4), ("2025-03-05", 1, 1)]
    assert archive(jakarta, until=FIRST + timedelta(days=1), everything=True).assets["raw_archive"]["days_written"] == 1
    assert manifests(database)[0] == ("2025-03-03", 2, 2)


@pytest.mark.usefixtures("observed")
@pytest.mark.parametrize(
    ("engine", "by"),
    [("postgres", {"postgres": 6}), ("auto", {"postgres": 6}), ("duckdb", {"duckdb": 5, "postgres": 1})],
)
def test_a_run_says_which_engine_published_what(
    database: Database, jakarta: City, where: Where, monkeypatch: pytest.MonkeyPatch, engine: str, by: dict[str, int]
) -> None:
    name(monkeypatch, where)
    store(jakarta)
    archive(jakarta, until=UNTIL - timedelta(days=1))  # all but the last of the days
    monkeypatch.setenv("LAMBDA_BATCH_ENGINE", engine)
    publish = ["hourly_aggregations"]
    found = run_backfill(jakarta, HISTORY_START, FIRST, UNTIL, assets=publish).assets["hourly_aggregations"]
    rows = database.rows("select engine, count(*)::int as hours from published_hours group by 1")
    assert {row.engine: row.hours for row in rows} == by
    assert (found["hours_published"], found["raw_rows"], found["engine"]) == (6, 6, ", ".join(by))
    assert found["seconds"] > 0
    if engine == "duckdb":
        assert found["hours_by_engine"] == by
        assert (found["archived_days_read"], found["archived_rows_read"], found["fell_back"]) == (2, 5, [])
        assert found["archived_bytes_read"] == sum(len(where.bytes_of(path)) for path in where.paths())
        assert set(found["engine_is"]) == {"version", "threads", "memory"}


@pytest.mark.usefixtures("observed")
def test_an_engine_over_no_archive_says_so_and_postgresql_publishes(
    database: Database, jakarta: City, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LAMBDA_BATCH_ENGINE", "duckdb")
    store(jakarta)
    with caplog.at_level("WARNING"):
        run_backfill(jakarta, HISTORY_START, FIRST, UNTIL, assets=["hourly_aggregations"])
    assert database.scalar("select string_agg(distinct engine, ' ') from published_hours") == "postgres"
    assert "LAMBDA_BATCH_ENGINE is duckdb, but LAMBDA_ARCHIVE_URL is not set" in caplog.text


@pytest.mark.usefixtures("observed")
def test_a_damaged_day_fails_the_check_and_is_written_anew_by_the_next_run(
    database: Database, jakarta: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = in_folder(tmp_path)
    name(monkeypatch, where)
    store(jakarta)
    archive(jakarta)
    path = where.paths()[1]
    where.overwrite(path, where.bytes_of(path)[:-1])
    (failed,) = archive(jakarta).failed_checks
    assert (failed.asset, failed.name, failed.is_error) == ("raw_archive", "archive_agrees", True)
    assert failed.text.startswith(
        f"1 of 3 archived days are wrong; first: the archive of 2025-03-04 is damaged ({path})"
    )
    again = archive(jakarta)
    assert (again.assets["raw_archive"]["days_written"], again.failed_checks) == (1, [])


@pytest.mark.usefixtures("observed")
def test_the_batch_layers_run_has_nothing_of_it(
    database: Database, jakarta: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = in_folder(tmp_path)
    name(monkeypatch, where)
    report = run_backfill(jakarta, HISTORY_START, FIRST, UNTIL)
    assert "raw_archive" not in report.assets
    assert where.paths() == []


# ---------------------------------------------------------------- the schedule


def tick(at: datetime) -> tuple[Sequence[dg.RunRequest], str | None]:
    job = build_archive_job()
    schedule = build_archive_schedule(job, ZONE, HISTORY_START)
    definitions = dg.Definitions(
        assets=[*SURROUNDINGS, *build_assets(ZONE, HISTORY_START), build_archive(ZONE, HISTORY_START)],
        asset_checks=[build_archive_check(ZONE, HISTORY_START)],
        jobs=[job],
        schedules=[schedule],
        resources=resources(),
    )
    context = dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=definitions.get_repository_def(), resources=resources()
    )
    found = schedule.evaluate_tick(context)
    return found.run_requests or [], found.skip_message


def night(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 2, 30, tzinfo=ZoneInfo(ZONE))


@pytest.mark.usefixtures("observed")
def test_a_night_asks_for_the_days_that_are_over_and_stale(
    jakarta: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, produce: Produce
) -> None:
    later = [4, 6, 8, 9]
    produce([message(PLACES[1], START + timedelta(days=number), aqi=1) for number in later])
    store(jakarta)
    last = FIRST + timedelta(days=9)
    assert tick(night(last)) == ([], "No archive is configured (LAMBDA_ARCHIVE_URL).")
    name(monkeypatch, in_folder(tmp_path))
    found, _ = tick(night(last))
    ranges = [
        (one.tags["dagster/asset_partition_range_start"], one.tags["dagster/asset_partition_range_end"])
        for one in found
    ]
    assert ranges == [("2025-03-11", "2025-03-11"), ("2025-03-09", "2025-03-09"), ("2025-03-07", "2025-03-07")]
    assert len({one.run_key for one in found}) == 3
    archive(jakarta, FIRST + timedelta(days=4), last)
    (rest,), _ = tick(night(last))
    assert rest.tags["dagster/asset_partition_range_start"] == "2025-03-03"
    assert rest.tags["dagster/asset_partition_range_end"] == "2025-03-05"
    archive(jakarta)
    assert tick(night(last)) == ([], "Every day that is over is archived as raw_data holds it.")
    assert [one.tags["dagster/asset_partition_range_start"] for one in tick(night(last + timedelta(days=1)))[0]] == [
        "2025-03-12"
    ]


def test_a_database_that_is_away_is_waited_for(topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name(monkeypatch, in_folder(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    found, message_ = tick(night(UNTIL))
    assert found == []
    assert "PostgreSQL is not answering" in str(message_)


# ---------------------------------------------------------------- the command


@pytest.mark.usefixtures("observed")
def test_the_command_says_what_it_would_do_and_what_it_did(jakarta: City, call: Call, tmp_path: Path) -> None:
    store(jakarta)
    servers = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC", "LAMBDA_DAGSTER_DATABASE_URL")
    settings = {one: os.environ[one] for one in servers} | in_folder(tmp_path).settings()
    command = ("backfill", "--from", "2025-03-03", "--to", "2025-03-06", "--asset", "raw_archive")

    def said(*options: str) -> list[str]:
        result = call(*command, *options, **settings)
        assert result.code == 0, result.text
        return [" ".join(line.split()) for line in result.out.splitlines()][1:]

    assert said("--dry-run") == ["raw_archive would archive 3 days of 6 raw rows"]
    (line,) = said()
    assert line.startswith("raw_archive 3 partitions 6 rows 3 days written, 0.")
    assert said("--dry-run") == ["raw_archive would archive 0 days of 0 raw rows"]
    assert said("--dry-run", "--all") == ["raw_archive would archive 3 days of 6 raw rows"]
    (line,) = said("--all")
    assert "3 days written" in line


def test_the_command_names_the_setting_that_is_missing(call: Call) -> None:
    result = call("backfill", "--from", "2025-03-03", "--to", "2025-03-06", "--asset", "raw_archive")
    assert result.code == 1
    assert "LAMBDA_ARCHIVE_URL is not set" in result.err
