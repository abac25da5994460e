"""A dump holds the floor and the manifests, the archive the months: after a loss the two go on as they were."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.place import S3Access
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.batch.raw_retention import RetentionRun
from lambda_pipeline.domain.observation import Observation
from lambda_pipeline.errors import ImportRefusedError
from lambda_pipeline.ingestion.redrive import Fate
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.cli.in_process import Call
from lambda_pipeline_tests.integration.archiving.days import change, rows_of, visible
from lambda_pipeline_tests.integration.archiving.months import drop, republish, results, retry
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
    HOUR,
    LAYER_TABLES,
    MemoryLog,
    contents,
    observed,
    seen,
    served,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

TABLES = (*LAYER_TABLES, "raw_floor", "raw_archives", "archive_leftovers", "deployment", "locations", "log_partitions")


@pytest.fixture
def early(database: Database) -> list[Observation]:
    """Lines of a file, judged before anything was dropped."""
    return observed(database, seen(57, "Krukut", aqi=3))


def run(call: Call, database: Database, *command: str) -> None:
    urls = {
        "DATABASE_URL": database.url(),
        "LAMBDA_OWNER_DATABASE_URL": database.url("postgres"),
        "LAMBDA_READER_DATABASE_URL": database.url("lambda_reader"),
    }
    result = call("db", *command, **urls)
    assert result.code == 0, result.text


def lose(database: Database) -> None:
    """All of it, and an empty database in its place."""
    for engine in (database.owner, database.writer, database.reader):
        engine.dispose()
    with database.postgres_connection() as connection:
        connection.execute(f"drop database {database.name} with (force)")  # type: ignore[call-overload]
        connection.execute(f"create database {database.name}")  # type: ignore[call-overload]


def shown(database: Database, archive: Archive, day: date = DAY) -> list[str]:
    """Single observations, as the dashboard has them."""
    layer = ServingLayer(database.reader, (archive.store.place, S3Access()))
    frame = layer.get_raw_data(day, day + timedelta(days=1), limit=None)
    assert not frame.empty
    return [str(row) for row in frame.itertuples(index=False)]


def test_after_a_restore_the_dropped_months_are_what_they_were(
    early: list[Observation], database: Database, log: MemoryLog, dropped: Archive, call: Call
) -> None:
    log.append(seen(58, "Krukut", aqi=77))
    assert (log.consume(), log.store()) == (0, 0)  # a letter for the archive
    manifest = visible(dropped)
    assert manifest is not None
    before, rows, raw = contents(database, TABLES), rows_of(dropped, manifest), shown(database, dropped)
    assert before["raw_data"] == []
    run(call, database, "dump", "backup")

    # What is done from here on is lost with the database. Its files stay, and so must those that the dump names.
    assert [one.fate for one in retry(database, dropped)] == [Fate.ARCHIVED]
    assert republish(database, dropped) == 1
    change(database, "update archive_leftovers set noted_at = noted_at - interval '7 days'")
    assert dropped.remove_leftovers() == 0
    lose(database)
    run(call, database, "restore", "backup")

    assert contents(database, TABLES) == before
    assert visible(dropped) == manifest
    assert rows_of(dropped, manifest) == rows
    assert shown(database, dropped) == raw
    assert drop(database, dropped) == RetentionRun()
    with pytest.raises(ImportRefusedError, match="dropped from raw_data"):
        import_observations(database.writer, early, "import:late.csv")
    with pytest.raises(sa.exc.DBAPIError, match="does not hold 2025-06"), transaction(database.writer) as connection:
        connection.execute(sa.text("select ensure_raw_partition(:at)"), {"at": HOUR})


def test_after_a_restore_late_observations_and_publishes_go_on(
    database: Database, log: MemoryLog, dropped: Archive, call: Call
) -> None:
    log.append(seen(58, "Krukut", aqi=77))
    log.consume()
    log.store()
    run(call, database, "dump", "backup")
    log.append(seen(59, "Krukut", aqi=5))
    log.consume()
    log.store()
    assert [one.is_known for one in retry(database, dropped)] == [False, False]
    assert republish(database, dropped) == 1
    after, hours = served(database), results(database)
    lose(database)
    run(call, database, "restore", "backup")

    assert served(database) != after
    assert (log.consume(), log.store()) == (0, 0)  # the log still has what came after the dump
    assert [(one.fate, one.is_known) for one in retry(database, dropped)] == [(Fate.ARCHIVED, False)] * 2
    assert retry(database, dropped) == []
    assert republish(database, dropped) == 1
    assert served(database) == after
    assert republish(database, dropped, everything=True, days=(DAY, DAY_AFTER)) == 2
    assert results(database) == hours
