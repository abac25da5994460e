"""The sensor that speaks up when a run fails: in the log, and to a webhook where one is set.

No `from __future__ import annotations` here: Dagster reads the context's annotation at import.
"""

import dagster as dg

from lambda_pipeline.automation.webhook import Webhook
from lambda_pipeline.batch.partitions import days_of_tags, describe_days


def build_failure_sensor(webhook: Webhook | None) -> dg.SensorDefinition:
    """Tells of every failed run of this code location; the webhook is `ALERT_WEBHOOK_URL`."""

    @dg.run_failure_sensor(
        name="run_failures", default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=30,
        description="Logs every failed run and posts it to ALERT_WEBHOOK_URL, where that is set.",
    )  # fmt: skip
    def run_failures(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        text = describe_failure(context.dagster_run, _cause(context))
        context.log.error(text)
        if webhook is None:
            return dg.SkipReason(f"{text} (logged; ALERT_WEBHOOK_URL is not set)")
        webhook.post(text, {"run_id": context.dagster_run.run_id, "job": context.dagster_run.job_name})
        return None

    return run_failures


def describe_failure(run: dg.DagsterRun, cause: str) -> str:
    """One sentence: what failed, on which days, and why."""
    days = days_of_tags(run.tags)
    when = "" if days is None else f" on {describe_days(days)}"
    return f"Run {run.run_id[:8]} of {run.job_name}{when} failed: {cause}"


def _cause(context: dg.RunFailureSensorContext) -> str:
    """What the first step that failed raised, out of Dagster's wrapping; else what Dagster says of the run."""
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error
        while error is not None and error.cause is not None and str(error.cls_name).startswith("Dagster"):
            error = error.cause
        if error is not None:
            return f"{event.step_key}: {error.message.strip().splitlines()[0]}"
    return (context.failure_event.message or "no reason given").strip().splitlines()[0]
