"""Runs in Dagster's storage that count as running, though nobody works on them."""

from collections.abc import Callable, Mapping

import dagster as dg

from lambda_pipeline.automation.jobs import JOB_NAME
from lambda_pipeline.automation.workers import PROCESS_TAG


def started_run(
    instance: dg.DagsterInstance,
    sign: Callable[[str], str],
    tags: Mapping[str, str] | None = None,
    job_name: str = JOB_NAME,
) -> str:
    """The id of a run that has started, signed with what `sign` makes of its id."""
    job = dg.GraphDefinition(job_name).to_job()
    run = instance.create_run_for_job(job, tags=tags)
    instance.add_run_tags(run.run_id, {PROCESS_TAG: sign(run.run_id)})
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name), run.run_id)
    return run.run_id
