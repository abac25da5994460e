"""The backfill as one Dagster run in this process: what it does to the tables, and what Dagster's storage keeps."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import psutil
import pytest

from lambda_pipeline.automation.backfill import run_backfill
from lambda_pipeline.automation.workers import PROCESS_TAG, signature
from lambda_pipeline.batch import raw_share
from lambda_pipeline.batch.assets import ASSET_NAMES
from lambda_pipeline.batch.survey import Survey, survey
from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.errors import BatchRunFailedError, DatabaseUnavailableError
from lambda_pipeline.local.home import free_port
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.topic import Topic
from lambda_pipeline_tests.automation.started_runs import started_run
from lambda_pipeline_tests.integration.dagster_runs import PLACES, Produce, consume
from lambda_pipeline_tests.integration.serving.data import message, some_days
from lambda_pipeline_tests.servers import HISTORY_START, Database

pytestmark = pytest.mark.integration

FIRST, UNTIL = date(2025, 3, 3), date(2025, 3, 6)
DAYS = ["2025-03-03", "2025-03-04", "2025-03-05"]
START = datetime(2025, 3, 2, 17, tzinfo=UTC)  # the first day's midnight in Jakarta
TABLES = ("raw_data", "batch_aggregations", "city_hourly", "peak_hours_analysis", "peak_hours", "batch_coverage")
NOT_COMPARED = ("id", "created_at", "updated_at")


def contents(database: Database) -> dict[str, list[str]]:
    """The batch layer's rows, without what every writing changes."""
    without = "".join(f" - '{name}'" for name in NOT_COMPARED)
    return {
        table: [row[0] for row in database.rows(f"select (to_jsonb(t){without})::text from {table} t order by 1")]
        for table in TABLES
    }


def materializations(asset: str) -> list[dg.EventLogRecord]:
    """What Dagster's storage keeps of an asset."""
    with dg.DagsterInstance.get() as instance:
        return list(instance.fetch_materializations(dg.AssetKey(asset), limit=1000).records)


def metadata(record: dg.EventLogRecord) -> dict[str, object]:
    materialization = record.asset_materialization
    assert materialization is not None
    return {name: value.value for name, value in materialization.metadata.items()}


# ---------------------------------------------------------------- Dagster's storage


def test_every_partition_of_every_asset_is_materialized_with_rows_window_and_positions(
    database: Database, topic: Topic, produce: Produce, jakarta: City
) -> None:
    messages = some_days(START, 3, PLACES)
    produce([*messages, b"no observation"])
    ends = {f"{topic.name}[{n}]": sum(m.location == place for m in messages) for n, place in enumerate(PLACES)}
    ends[f"{topic.name}[0]"] += 1
    report = run_backfill(jakarta, HISTORY_START, FIRST, UNTIL)
    kept = {}
    for asset in ASSET_NAMES:
        records = materializations(asset)
        assert sorted(str(record.partition_key) for record in records) == DAYS, asset
        found = [metadata(record) for record in records]
        by_day = [one.pop("dagster/partition_row_count") for one in found]
        assert sum(map(int, by_day)) == found[0]["window_rows"]
        assert all(by_day)
        assert len({str(sorted(one.items())) for one in found}) == 1
        kept[asset] = found[0]
        assert kept[asset]["window"] == "2025-03-03 to 2025-03-05"
        assert kept[asset].items() <= report.assets[asset].items()
        assert report.partitions[asset] == 3
    hours = database.scalar("select count(*) from batch_aggregations where hour is not null")
    assert {asset: kept[asset]["window_rows"] for asset in ASSET_NAMES} == {
        "raw_data": len(messages),
        "hourly_aggregations": hours,
        "daily_aggregations": 6,
        "peak_hours_analysis": hours,
        "peak_hours": 3,
    }
    raw, hourly = kept["raw_data"], kept["hourly_aggregations"]
    assert raw["positions"] == {name: f"0 to {end}" for name, end in ends.items()}
    assert (raw["records_read"], raw["records_stored"], raw["dead_letters"]) == (
        len(messages) + 1, len(messages), 1,
    )  # fmt: skip
    assert raw["readers"] == 1, "so few records are not worth a second process"
    assert (hourly["hours_published"], hourly["raw_rows"], hourly["engine"]) == (72, len(messages), "postgres")


def test_as_many_readers_as_the_setting_allows_where_there_is_enough_to_read(
    database: Database, topic: Topic, produce: Produce, jakarta: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = some_days(START, 3, PLACES)
    produce(messages)
    monkeypatch.setenv("LAMBDA_RAW_READERS", "2")
    monkeypatch.setattr(raw_share, "LEAST_SHARE", len(messages) // 3)
    told = run_backfill(jakarta, HISTORY_START, FIRST, UNTIL).assets["raw_data"]
    assert (told["readers"], told["records_stored"]) == (2, len(messages))


def test_the_run_itself_is_kept_as_a_success_of_the_job(
    database: Database, topic: Topic, produce: Produce, jakarta: City
) -> None:
    produce([message("Cinere", START, aqi=1)])
    run_backfill(jakarta, HISTORY_START, FIRST, FIRST + timedelta(days=1))
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
    assert (run.job_name, run.status) == ("batch_layer", dg.DagsterRunStatus.SUCCESS)
    assert database.rows("select distinct run_id from published_hours")[0].run_id == run.run_id
    assert database.scalar("select count(distinct run_id) from computed_days") == 1


# ---------------------------------------------------------------- the tables


def test_running_it_again_gives_the_same_rows(
    database: Database, topic: Topic, produce: Produce, jakarta: City
) -> None:
    messages = some_days(START, 3, PLACES)
    produce(messages)
    run_backfill(jakarta, HISTORY_START, FIRST, UNTIL)
    before = contents(database)
    assert len(before["raw_data"]) == len(messages)
    again = run_backfill(jakarta, HISTORY_START, FIRST, UNTIL)
    assert contents(database) == before
    assert again.assets["raw_data"]["records_read"] == 0
    assert again.assets["hourly_aggregations"]["hours_published"] == 0
    everything = run_backfill(jakarta, HISTORY_START, FIRST, UNTIL, everything=True)
    assert contents(database) == before
    hourly = everything.assets["hourly_aggregations"]
    assert (hourly["hours_published"], hourly["hours_again"]) == (72, 72)


def test_all_that_is_new_is_stored_but_only_the_asked_days_are_published(
    database: Database, topic: Topic, produce: Produce, jakarta: City
) -> None:
    produce([message("Cinere", START + timedelta(days=n, hours=1), aqi=n) for n in range(4)])
    done = run_backfill(jakarta, HISTORY_START, date(2025, 3, 4), date(2025, 3, 6))
    assert database.scalar("select count(*) from raw_data") == 4
    assert [str(row.city_date) for row in database.rows("select city_date from published_hours order by 1")] == DAYS[1:]
    assert (done.assets["raw_data"]["records_stored"], done.assets["raw_data"]["window_rows"]) == (4, 2)


def test_closed_only_leaves_the_open_hour_to_the_speed_layer(
    database: Database, kafka: KafkaConnection, topic: Topic, produce: Produce
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    if now.minute >= 57:  # an hour that stays open for as long as this test may take
        now += timedelta(minutes=4)
    city = City("Somewhere", "UTC" if 15 <= now.hour <= 18 else "Asia/Jakarta", locations=())
    database.claim(city)
    with database.owner.begin() as connection:
        connection.exec_driver_sql("insert into locations (name, origin) values ('Cinere', 'catalogue')")
    produce([message("Cinere", now, aqi=20), message("Cinere", now - timedelta(hours=2), aqi=10)])
    consume(database, kafka, topic, 2)
    clock = city.clock()
    days = clock.city_date(now - timedelta(hours=2)), clock.city_date(now) + timedelta(days=1)
    layers = "select hour_start, layer, avg_aqi from served_hourly order by hour_start"
    open_hour, closed_hour = clock.hour_start(now), clock.hour_start(now - timedelta(hours=2))

    done = run_backfill(city, HISTORY_START, *days, closed_only=True)
    assert [tuple(row) for row in database.rows(layers)] == [(closed_hour, "batch", 10), (open_hour, "speed", 20)]
    assert done.assets["raw_data"]["records_stored"] == 2
    assert done.assets["hourly_aggregations"]["moved_from_speed"] == 1
    run_backfill(city, HISTORY_START, *days)
    assert [tuple(row) for row in database.rows(layers)] == [(closed_hour, "batch", 10), (open_hour, "batch", 20)]
    assert database.scalar("select count(*) from realtime_data") == 0


def test_without_a_topic_there_is_nothing_to_store_and_that_is_no_error(
    database: Database, topic: Topic, jakarta: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_TOPIC", f"{topic.name}-not-there")
    done = run_backfill(jakarta, HISTORY_START, FIRST, UNTIL)
    assert done.assets["raw_data"]["records_read"] == 0
    assert done.assets["peak_hours"]["window_rows"] == 0


def test_dagsters_database_that_is_away_is_said_plainly(
    topic: Topic, jakarta: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_postgres.utils.calculate_delay", lambda **_: 0.0)  # it tries six times
    address = f"postgresql+psycopg2://nobody:verysecret@127.0.0.1:{free_port()}/nothing"
    monkeypatch.setenv("LAMBDA_DAGSTER_DATABASE_URL", address)
    with pytest.raises(DatabaseUnavailableError, match=r"Dagster's database is not answering: .*refused") as caught:
        run_backfill(jakarta, HISTORY_START, FIRST, UNTIL)
    assert "LAMBDA_DAGSTER_DATABASE_URL" in caught.value.next_action
    assert "verysecret" not in str(caught.value)


def test_errors_of_the_assets_pass_through_and_the_run_is_kept_as_failed(
    topic: Topic, jakarta: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://nobody:verysecret@127.0.0.1:{free_port()}/nothing")
    with pytest.raises(DatabaseUnavailableError) as caught:
        run_backfill(jakarta, HISTORY_START, FIRST, UNTIL)
    assert "verysecret" not in str(caught.value)
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.FAILURE
        logs = " ".join(str(event) for event in instance.all_logs(run.run_id))
    assert "verysecret" not in logs


# ---------------------------------------------------------------- parts of it, and checks


def test_one_asset_can_be_recomputed_by_itself(
    database: Database, topic: Topic, produce: Produce, jakarta: City
) -> None:
    produce([message("Cinere", START, aqi=1)])
    run_backfill(jakarta, HISTORY_START, FIRST, UNTIL)
    with database.owner.begin() as connection:
        connection.exec_driver_sql("delete from peak_hours")
    report = run_backfill(jakarta, HISTORY_START, FIRST, UNTIL, assets=["peak_hours"])
    assert list(report.assets) == ["peak_hours"]
    assert database.scalar("select count(*) from peak_hours") == 1


def test_a_blocking_check_stops_the_run_before_anything_is_published_and_says_why(
    database: Database, topic: Topic, produce: Produce, jakarta: City
) -> None:
    produce([message("Cinere", START, aqi=1)])
    run_backfill(jakarta, HISTORY_START, FIRST, UNTIL, assets=["raw_data"])
    with database.owner.begin() as connection:
        connection.exec_driver_sql("update raw_data set city_date = city_date + 1")
    with pytest.raises(BatchRunFailedError, match="raw_data: raw_values: 1 rows break a rule"):
        run_backfill(jakarta, HISTORY_START, FIRST, UNTIL)
    assert database.scalar("select count(*) from published_hours") == 0


def test_a_survey_says_what_a_run_then_does(
    database: Database, kafka: KafkaConnection, topic: Topic, produce: Produce, jakarta: City
) -> None:
    produce([message("Cinere", START + timedelta(hours=n), aqi=n) for n in range(3)])
    consume(database, kafka, topic, 3)
    before = contents(database)
    found = survey(database.writer, kafka, topic.name, FIRST, UNTIL)
    assert (found.unread_records, found.stale_hours, found.speed_hours) == (3, 0, 3)
    assert contents(database) == before
    run_backfill(jakarta, HISTORY_START, FIRST, UNTIL, assets=["raw_data"])
    found = survey(database.writer, kafka, topic.name, FIRST, UNTIL)
    assert (found.unread_records, found.stale_hours, found.stale_rows) == (0, 3, 3)
    run_backfill(jakarta, HISTORY_START, FIRST, UNTIL)
    assert survey(database.writer, kafka, topic.name, FIRST, UNTIL) == Survey(0, 0, 0, 0)
    assert survey(database.writer, kafka, topic.name, FIRST, UNTIL, everything=True) == Survey(0, 3, 3, 0)


def test_whoever_waits_is_told_how_far_it_is(database: Database, topic: Topic, produce: Produce, jakarta: City) -> None:
    class Told:
        def __init__(self) -> None:
            self.steps: dict[str, list[tuple[int, int]]] = {}

        def report(self, step: str, done: int, total: int) -> None:
            self.steps.setdefault(step, []).append((done, total))

    told = Told()
    produce([message("Cinere", START + timedelta(hours=n), aqi=n) for n in range(5)])
    run_backfill(jakarta, HISTORY_START, FIRST, UNTIL, progress=told)
    assert told.steps["raw_data"][-1] == (5, 5)
    assert told.steps["hourly_aggregations"] == [(n, 5) for n in range(1, 6)]


def test_a_run_is_signed_by_its_process_and_one_whose_process_was_killed_is_ended(topic: Topic, jakarta: City) -> None:
    run_backfill(jakarta, HISTORY_START, FIRST, FIRST + timedelta(days=1), assets=["peak_hours"])
    killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert run.tags[PROCESS_TAG] == signature(run.run_id, psutil.Process())
        dead = started_run(instance, lambda run_id: signature(run_id, psutil.Process(killed.pid)))
    killed.kill()
    killed.wait()
    run_backfill(jakarta, HISTORY_START, FIRST, FIRST + timedelta(days=1), assets=["peak_hours"])
    with dg.DagsterInstance.get() as instance:
        assert {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))} == {
            dead
        }
