"""What is removed when it is old, and what must not be."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from lambda_pipeline.automation.jobs import resources
from lambda_pipeline.automation.maintenance import build_maintenance_job, prune_events, prune_runs
from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.storage.dead_letters import prune_letters
from lambda_pipeline.storage.deployment import register_locations
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.stream.topic import Topic
from lambda_pipeline_tests.integration.observations import MALFORMED, MemoryLog, keys, seen
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

DAYS = 90


def letters(database: Database) -> list[int]:
    return [row.log_offset for row in database.rows("select log_offset from dead_letters order by log_offset")]


def age(database: Database, days: float, where: str = "true") -> None:
    """Let dead letters be so much older."""
    with transaction(database.owner) as connection:
        connection.execute(
            sa.text(f"update dead_letters set created_at = created_at - make_interval(secs => :seconds) where {where}"),
            {"seconds": days * 86_400},
        )


def prune(database: Database, limit: int = 1000) -> int:
    with transaction(database.writer) as connection:
        return prune_letters(connection, DAYS, limit)


# ---------------------------------------------------------------- dead letters


def test_old_letters_that_both_layers_are_beyond_are_removed_and_young_ones_kept(database: Database) -> None:
    log = MemoryLog(database)
    log.append(*[MALFORMED] * 6)
    log.consume()
    log.store()
    age(database, DAYS + 1, "log_offset < 3")
    age(database, DAYS - 1, "log_offset = 3")
    assert (prune(database, 2), prune(database, 2), prune(database, 2)) == (2, 1, 0)
    assert letters(database) == [3, 4, 5]


@pytest.mark.parametrize("behind", ["stream_offsets", "raw_frontier"])
def test_a_letter_that_a_layer_may_still_read_is_kept_however_old(database: Database, behind: str) -> None:
    log = MemoryLog(database)
    log.append(*[MALFORMED] * 4)
    if behind == "raw_frontier":
        log.consume()
        log.store(2)
    else:
        log.store()
        log.consume(2)
    age(database, 10 * DAYS)
    assert prune(database) == 2
    assert letters(database) == [2, 3]


@pytest.mark.parametrize("never", ["consume", "store"])
def test_a_letter_of_a_log_that_a_layer_never_read_is_kept(database: Database, never: str) -> None:
    log = MemoryLog(database)
    log.append(MALFORMED)
    log.store() if never == "consume" else log.consume()
    age(database, 10 * DAYS)
    assert prune(database) == 0


@pytest.mark.parametrize("first", ["consume", "store"])
def test_the_layers_agree_also_about_what_was_pruned_meanwhile(database: Database, first: str) -> None:
    """The reason for the rule: the catalogue has learned the location since, so the letters alone make them agree."""
    log = MemoryLog(database)
    log.append(seen(0, "New Place"), seen(1), seen(2, "New Place"))
    second = "store" if first == "consume" else "consume"
    getattr(log, first)()
    getattr(log, second)(1)
    with transaction(database.writer) as connection:
        register_locations(connection, [Location("New Place")], "catalogue")
    log.validator = MemoryLog(database).validator
    age(database, 10 * DAYS)
    assert prune(database) == 1
    assert letters(database) == [2]
    getattr(log, second)()
    assert keys(database, "raw_data") == keys(database, "realtime_data") == [("Krukut", 1)]
    assert prune(database) == 1


def test_letters_that_were_sent_again_go_a_week_later(database: Database) -> None:
    log = MemoryLog(database)
    log.append(*[MALFORMED] * 3)
    log.consume()
    log.store()
    with transaction(database.owner) as connection:
        connection.exec_driver_sql(
            "update dead_letters set retried_at = now() - interval '8 days' where log_offset = 0"
        )
        connection.exec_driver_sql(
            "update dead_letters set retried_at = now() - interval '6 days' where log_offset = 1"
        )
    assert prune(database) == 1
    assert letters(database) == [1, 2]


# ---------------------------------------------------------------- what Dagster keeps


@dg.asset(partitions_def=dg.DailyPartitionsDefinition("2025-06-01"))
def some_day() -> None:
    """An asset of days."""


@dg.op
def fails(context: dg.OpExecutionContext) -> None:
    """Says something, and fails."""
    context.log.info("before it fails")
    raise ValueError("as ever")


@dg.job
def failing() -> None:
    """A job without any asset."""
    fails()


@pytest.fixture
def instance(topic: Topic) -> Iterator[dg.DagsterInstance]:
    """A Dagster of its own, on PostgreSQL."""
    with dg.DagsterInstance.get() as made:
        yield made


def on_its_storage(instance: dg.DagsterInstance, statement: str, **values: object) -> list[tuple[object, ...]]:
    with instance.event_log_storage.index_transaction() as connection:  # type: ignore[attr-defined]
        result = connection.execute(sa.text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def materialize(instance: dg.DagsterInstance, day: str, old_days: int) -> str:
    """A run of a day, so many days ago; its id."""
    run_id = dg.materialize([some_day], partition_key=day, instance=instance).run_id
    older = "update runs set create_timestamp = create_timestamp - make_interval(days => :days) where run_id = :id"
    on_its_storage(instance, older, days=old_days, id=run_id)
    return run_id


def runs(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.get_run_ids())


def test_old_runs_go_but_for_the_one_that_materialized_a_day_last(instance: dg.DagsterInstance) -> None:
    superseded = materialize(instance, "2025-06-02", 200)
    newest = materialize(instance, "2025-06-02", 199)
    other_day = materialize(instance, "2025-06-03", 300)
    young = [materialize(instance, "2025-06-04", days) for days in (5, 4)]
    failed = failing.execute_in_process(instance=instance, raise_on_error=False).run_id
    on_its_storage(instance, "update runs set create_timestamp = '2025-01-01' where run_id = :id", id=failed)
    logs = instance.compute_log_manager.get_log_data([failed, "compute_logs", "x"])
    assert logs is not None

    before = datetime.now(UTC) - timedelta(days=DAYS)
    assert prune_runs(instance, before) == (2, 2)
    assert runs(instance) == {newest, other_day, *young}
    assert on_its_storage(
        instance, "select count(*) from event_logs where run_id = any(:ids)", ids=[superseded, failed]
    ) == [(0,)]
    assert instance.get_materialized_partitions(dg.AssetKey("some_day")) == {"2025-06-02", "2025-06-03", "2025-06-04"}
    assert prune_runs(instance, before) == (0, 2)


def test_a_run_that_has_not_ended_is_kept_however_old(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(failing)
    on_its_storage(instance, "update runs set create_timestamp = '2025-01-01'")
    assert prune_runs(instance, datetime.now(UTC)) == (0, 0)
    assert runs(instance) == {run.run_id}


def test_what_sensors_noted_goes_but_for_the_newest_of_each(instance: dg.DagsterInstance) -> None:
    for asset in ("realtime_data", "other"):
        for _ in range(4):
            instance.report_runless_asset_event(dg.AssetObservation(asset))
    on_its_storage(
        instance, "update event_logs set timestamp = timestamp - interval '200 days' where asset_key like '%real%'"
    )
    on_its_storage(
        instance, "update event_logs set timestamp = timestamp - interval '80 days' where asset_key like '%other%'"
    )
    assert prune_events(instance, DAYS) == 3
    counted = on_its_storage(
        instance, "select asset_key, count(*) from event_logs group by asset_key order by asset_key"
    )
    assert counted == [('["other"]', 4), ('["realtime_data"]', 1)]
    assert prune_events(instance, DAYS) == 0


def test_executions_of_checks_go_but_for_the_newest_of_each(instance: dg.DagsterInstance) -> None:
    for _ in range(3):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=dg.AssetKey("raw_data"), check_name="kafka_retention", passed=True)
        )
    on_its_storage(
        instance, "update asset_check_executions set create_timestamp = create_timestamp - interval '91 days'"
    )
    prune_events(instance, DAYS)
    assert on_its_storage(instance, "select count(*) from asset_check_executions") == [(1,)]


def test_the_job_says_what_it_removed(database: Database, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    log = MemoryLog(database)
    log.append(*[MALFORMED] * 3)
    log.consume()
    log.store()
    age(database, 40)
    materialize(instance, "2025-06-02", 40)
    materialize(instance, "2025-06-02", 39)
    definitions = dg.Definitions(jobs=[build_maintenance_job(30, 30)], resources=resources())
    result = definitions.resolve_job_def("maintenance").execute_in_process(instance=instance)
    assert result.success
    outputs = {
        event.step_key: {name: value.value for name, value in event.step_output_data.metadata.items()}
        for event in result.all_events
        if event.is_successful_output
    }
    assert outputs == {
        "drop_archived_months": {},  # no retention is set
        "prune_dead_letters": {"removed": 3},
        "prune_runs": {"runs_removed": 1, "runs_kept": 1, "events_removed": 0},
    }
    assert letters(database) == []
