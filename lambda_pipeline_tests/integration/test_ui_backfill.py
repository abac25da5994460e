"""A backfill as Dagster's UI starts it: by its backfill daemon, as runs of whatever assets were selected."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.execution.api import execute_run
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._utils.hosted_user_process import recon_job_from_origin

from lambda_pipeline.automation.workers import PROCESS_TAG
from lambda_pipeline.batch.assets import ASSET_NAMES
from lambda_pipeline_tests.integration.dagster_runs import PLACES, Produce
from lambda_pipeline_tests.integration.serving.data import some_days
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

START = datetime(2025, 3, 2, 17, tzinfo=UTC)  # the first day's midnight in Jakarta
DAYS = ["2025-03-03", "2025-03-04", "2025-03-05"]
CODE = LoadableTargetOrigin(module_name="lambda_pipeline.definitions")


@pytest.fixture
def dagster(database: Database, produce: Produce) -> Iterator[WorkspaceProcessContext]:
    """What Dagster's daemon knows, our code in the same process; three days in the log."""
    produce(some_days(START, 3, PLACES))
    with (
        dg.DagsterInstance.get() as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(CODE))) as context,
    ):
        yield context


def tick(dagster: WorkspaceProcessContext) -> None:
    """What the backfill daemon does now and then."""
    with ThreadPoolExecutor(1) as daemon:  # a browser's test may have left this thread with an event loop of its own
        errors = daemon.submit(lambda: list(execute_backfill_iteration(dagster, logging.getLogger("test")))).result()
    assert not any(errors), errors


def test_a_range_of_days_is_one_run_whose_checks_are_about_the_range(
    database: Database, dagster: WorkspaceProcessContext
) -> None:
    instance = dagster.instance
    graph = dagster.create_request_context().asset_graph
    instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            "backfill", graph, DAYS, [dg.AssetKey(name) for name in ASSET_NAMES], datetime.now(UTC).timestamp(), {},
            instance, all_partitions=False, title=None, description=None, run_config=None,
        )
    )  # fmt: skip
    tick(dagster)
    (queued,) = instance.get_runs()
    assert queued.job_name == "__ASSET_JOB"
    starting = dg.DagsterEvent(dg.DagsterEventType.RUN_STARTING.value, queued.job_name)  # as the queue's daemon says
    instance.report_dagster_event(starting, queued.run_id)
    execute_run(recon_job_from_origin(queued.job_code_origin), instance.get_run_by_id(queued.run_id), instance)
    tick(dagster)

    (run,) = instance.get_runs()
    assert run.is_success
    assert PROCESS_TAG in run.tags
    backfill = instance.get_backfill("backfill")
    assert backfill is not None
    assert backfill.status is BulkActionStatus.COMPLETED_SUCCESS
    for name in ASSET_NAMES:
        records = instance.fetch_materializations(dg.AssetKey(name), limit=10).records
        assert sorted(str(record.partition_key) for record in records) == DAYS, name
    windows = {
        entry.dagster_event.asset_check_evaluation_data.metadata["window"].value
        for entry in instance.all_logs(run.run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if "window" in entry.dagster_event.asset_check_evaluation_data.metadata
    }
    assert windows == {"2025-03-03 to 2025-03-05"}
    assert database.scalar("select count(distinct run_id) from published_hours") == 1
    assert database.scalar("select count(*) from published_hours") == 72
