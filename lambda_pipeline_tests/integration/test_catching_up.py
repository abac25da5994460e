"""The sensors on a real database: what is stale, what they ask Dagster for, what they note."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from socket import gethostname

import dagster as dg
import psutil
import pytest
import sqlalchemy as sa
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES

from lambda_pipeline.automation.failures import build_failure_sensor
from lambda_pipeline.automation.jobs import ARCHIVE_JOB_NAME, JOB_NAME, build_job, resources
from lambda_pipeline.automation.speed_observations import build_speed_layer_sensor
from lambda_pipeline.automation.stale_hours import build_stale_hours_sensor
from lambda_pipeline.automation.workers import signature
from lambda_pipeline.batch.assets import build_assets
from lambda_pipeline.batch.catch_up import CLOSED_FOR, SETTLE, load_attempts, stale_days
from lambda_pipeline.batch.checks import build_checks
from lambda_pipeline.batch.days import DAY_TABLES, compute_days
from lambda_pipeline.batch.partitions import range_tags
from lambda_pipeline.batch.surroundings import SURROUNDINGS
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.automation.started_runs import started_run
from lambda_pipeline_tests.cli.commands import SETTINGS
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
    HOUR,
    NEXT_HOUR,
    ZONE,
    MemoryLog,
    publish,
    seen,
)
from lambda_pipeline_tests.integration.speed_daemons import Feed
from lambda_pipeline_tests.servers import HISTORY_START, Database

pytestmark = pytest.mark.integration

DAY_BEFORE = DAY - timedelta(days=1)


def compute(database: Database, day: date = DAY) -> None:
    for table in DAY_TABLES:
        compute_days(database.writer, table, day, day + timedelta(days=1), "test")


def days(database: Database, now: datetime | None = None) -> dict[date, tuple[int, str]]:
    """Stale days, at a moment or in an hour, when everything that was just published has settled."""
    now = now or datetime.now(UTC) + timedelta(hours=1)
    return {one.day: (one.hours, one.positions) for one in stale_days(database.writer, now)}


# ---------------------------------------------------------------- what is stale


def test_what_the_speed_layer_holds_makes_a_day_stale_until_it_is_published(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0), seen(0, hour=NEXT_HOUR))
    assert days(database) == {}
    log.consume()
    assert days(database)[DAY][0] == 2
    log.store()
    publish(database, HOUR, NEXT_HOUR)
    assert days(database)[DAY][0] == 0, "its tables are behind"
    compute(database)
    assert days(database) == {}


def test_what_raw_data_holds_beyond_the_coverage_makes_a_day_stale(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0))
    log.store()
    publish(database, HOUR)
    compute(database)
    log.append(seen(1), seen(0, hour=HOUR - timedelta(days=1)))
    log.store()
    assert {day: hours for day, (hours, _) in days(database).items()} == {DAY_BEFORE: 1, DAY: 1}


def test_a_day_is_stale_while_one_of_its_tables_is_behind(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0))
    log.store()
    publish(database, HOUR)
    for table in DAY_TABLES:
        assert days(database)[DAY][0] == 0
        compute_days(database.writer, table, DAY, DAY + timedelta(days=1), "test")
    assert days(database) == {}


def test_an_open_hour_and_one_that_just_closed_are_the_schedules(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0))
    log.consume()
    closed = HOUR + timedelta(hours=1)
    assert days(database, closed - timedelta(minutes=1)) == {}
    assert days(database, closed + CLOSED_FOR - timedelta(seconds=1)) == {}
    assert days(database, closed + CLOSED_FOR)[DAY][0] == 1


def test_positions_change_with_every_late_record_and_with_nothing_else(database: Database) -> None:
    log = MemoryLog(database, partitions=2)
    log.append(seen(0), partition=0)
    log.consume()
    found = [days(database)[DAY]]
    assert days(database)[DAY] == found[0]
    for layer in (log.consume, log.store):
        log.append(seen(len(found)), partition=1)
        layer(partition=1)
        found.append(days(database)[DAY])
    assert len(set(found)) == 3


# ---------------------------------------------------------------- the sensors


@pytest.fixture
def instance(database: Database, kafka: KafkaConnection, topic_name: str, monkeypatch: pytest.MonkeyPatch,
             tmp_path: Path) -> Iterator[dg.DagsterInstance]:  # fmt: skip
    """A Dagster of its own, in a process whose settings are the test's database and topic."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", database.url())
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    monkeypatch.setenv("KAFKA_TOPIC", topic_name)
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def definitions(*sensors: dg.SensorDefinition) -> dg.Definitions:
    return dg.Definitions(
        assets=[*SURROUNDINGS, *build_assets(ZONE, HISTORY_START)],
        asset_checks=build_checks(ZONE, HISTORY_START),
        jobs=[JOB],
        sensors=sensors,
        resources=resources(),
    )


JOB = build_job()


def tick(sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None = None):  # type: ignore[no-untyped-def]
    """What Dagster would take in of a tick."""
    context = dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        repository_def=definitions(sensor).get_repository_def(),
        resources=resources(),
    )
    return sensor.evaluate_tick(context)


def age(database: Database) -> None:
    """Let the sensor's memory be older than a day needs to settle."""
    with transaction(database.owner) as connection:
        connection.execute(
            sa.text("update catch_up set first_seen_at = first_seen_at - :age, changed_at = changed_at - :age"),
            {"age": SETTLE},
        )


def execute(request: dg.RunRequest, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Do what a request asks for, as Dagster's daemon would."""
    return (
        definitions()
        .resolve_job_def(JOB_NAME)
        .execute_in_process(
            instance=instance,
            run_config=request.run_config,
            tags={**request.tags, "dagster/run_key": str(request.run_key)},
            raise_on_error=False,
        )
    )


def test_it_catches_up_with_what_was_missed_and_then_is_quiet(
    database: Database, feed: Feed, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_TOPIC", feed.name)
    sensor = build_stale_hours_sensor(JOB, ZONE, HISTORY_START)
    assert tick(sensor, instance).skip_message == "nothing is stale"
    feed.start()
    feed.produce(*(seen(0, hour=HOUR - timedelta(days=number)) for number in (0, 1, 3)))
    feed.wait_for(3)
    first = tick(sensor, instance)
    assert not first.run_requests
    assert "2025-05-30 may still change" in first.skip_message
    age(database)
    requests = tick(sensor, instance).run_requests
    assert [(one.tags["dagster/asset_partition_range_start"], one.tags["dagster/asset_partition_range_end"])
            for one in requests] == [("2025-05-30", "2025-05-30"), ("2025-06-01", "2025-06-02")]  # fmt: skip
    for request in requests:
        assert execute(request, instance).success
    assert tick(sensor, instance).skip_message == "nothing is stale"
    assert load_attempts(database.writer) == {}
    assert database.scalar("select count(*) from realtime_data") == 0
    assert [row.layer for row in database.rows("select layer from served_hourly")] == ["batch"] * 3


def test_a_run_that_a_check_blocks_is_tried_again_later_and_not_at_every_tick(
    database: Database, feed: Feed, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_TOPIC", feed.name)
    sensor = build_stale_hours_sensor(JOB, ZONE, HISTORY_START)
    feed.start()
    feed.produce(seen(0))
    feed.wait_for(1)
    with transaction(database.owner) as connection:
        connection.execute(sa.text("alter table raw_data drop constraint raw_data_pkey cascade"))
        connection.execute(sa.text("alter table raw_data add unique (location, timestamp)"))
    tick(sensor, instance)
    age(database)
    (request,) = tick(sensor, instance).run_requests
    assert not execute(request, instance).success
    assert database.scalar("select count(*) from published_hours") == 0, "the check blocks the publish"
    for _ in range(3):
        again = tick(sensor, instance)
        assert not again.run_requests
        assert "2025-06-02 was tried 1 times, it is due at" in again.skip_message
    assert load_attempts(database.writer)[DAY].run_key == request.run_key


def test_runs_whose_process_is_gone_do_not_hold_up_their_days_and_the_queue(
    database: Database, instance: dg.DagsterInstance
) -> None:
    log = MemoryLog(database)
    log.append(seen(0))
    log.consume()
    sensor = build_stale_hours_sensor(JOB, ZONE, HISTORY_START)
    tick(sensor, instance)
    age(database)
    ours = started_run(instance, lambda run: signature(run, psutil.Process()), range_tags(DAY, DAY_AFTER))
    assert "2025-06-02 is being recomputed" in tick(sensor, instance).skip_message
    instance.report_run_failed(instance.get_runs()[0])
    dead = {
        started_run(instance, lambda run: f"{gethostname()} 4000000 1.00 {run}", range_tags(DAY, DAY_AFTER))
        for _ in range(2)  # as many as may run at once
    }
    assert len(tick(sensor, instance).run_requests) == 1
    assert {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))} == {
        ours, *dead,
    }  # fmt: skip
    assert not instance.get_runs(dg.RunsFilter(statuses=ACTIVE_RUN_STATUSES)), "the queue counts these"


def test_a_run_that_archives_days_does_not_keep_them_from_being_recomputed(
    database: Database, instance: dg.DagsterInstance
) -> None:
    log = MemoryLog(database)
    log.append(seen(0))
    log.consume()
    sensor = build_stale_hours_sensor(JOB, ZONE, HISTORY_START)
    tick(sensor, instance)
    age(database)
    started_run(instance, lambda run: signature(run, psutil.Process()), range_tags(DAY, DAY_AFTER), ARCHIVE_JOB_NAME)
    assert len(tick(sensor, instance).run_requests) == 1


def test_days_before_the_start_of_history_are_named_with_the_setting(
    database: Database, instance: dg.DagsterInstance
) -> None:
    log = MemoryLog(database)
    log.append(seen(0))
    log.consume()
    sensor = build_stale_hours_sensor(JOB, ZONE, DAY + timedelta(days=1))
    assert tick(sensor, instance).skip_message == (
        "1 stale days from 2025-06-02 on are before LAMBDA_HISTORY_START (2025-06-03): lower the setting to that day."
    )


def test_a_database_that_is_away_is_a_reason_to_skip(
    database: Database, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:verysecret@127.0.0.1:1/nothing")
    for sensor in (build_stale_hours_sensor(JOB, ZONE, HISTORY_START), build_speed_layer_sensor()):
        found = tick(sensor, instance)
        assert "PostgreSQL is not answering" in found.skip_message
        assert "verysecret" not in found.skip_message


def test_the_speed_layer_is_observed_with_its_lag_while_it_changes(
    database: Database, feed: Feed, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_TOPIC", feed.name)
    sensor = build_speed_layer_sensor()
    feed.start()
    feed.produce(seen(0), seen(1), b"{")
    feed.wait_for(2)
    feed.stop()
    feed.produce(*(seen(minute) for minute in range(2, 7)))
    found = tick(sensor, instance)
    observation, check = found.asset_events
    assert observation.asset_key == dg.AssetKey("realtime_data")
    values = {name: value.value for name, value in observation.metadata.items()}
    assert (values["observations"], values["dead_letters"], values["lag_records"]) == (2, 1, 5)
    assert values["newest_observation"] == (HOUR + timedelta(minutes=1)).timestamp()
    assert values["seconds_behind"] > 0
    assert (check.check_name, check.passed) == ("kafka_retention", True)
    assert check.metadata["unread_records"].value == 8
    assert not tick(sensor, instance, found.cursor).asset_events
    feed.produce(seen(8))
    (changed,) = tick(sensor, instance, found.cursor).asset_events
    assert changed.metadata["lag_records"].value == 6


def test_without_kafka_the_speed_layer_is_observed_all_the_same(
    database: Database, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MemoryLog(database)
    log.append(seen(0))
    log.consume()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    (observation,) = tick(build_speed_layer_sensor(), instance).asset_events
    assert observation.metadata["lag_records"].value == "Kafka is not answering"
    assert observation.metadata["observations"].value == 1


def test_the_failure_sensor_names_the_days_and_the_cause(
    database: Database, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    result = (
        definitions()
        .resolve_job_def(JOB_NAME)
        .execute_in_process(instance=instance, partition_key="2025-06-02", raise_on_error=False)
    )
    assert not result.success
    found = tick(build_failure_sensor(None), instance)
    assert found.skip_message.startswith(
        f"Run {result.run_id[:8]} of batch_layer on 2025-06-02 failed: raw_data: "
        "lambda_pipeline.errors.BrokerUnavailableError: Kafka at 127.0.0.1:1 is not answering"
    )
