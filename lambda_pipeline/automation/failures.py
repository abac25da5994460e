"""The sensor that speaks up when a run fails: in the log, and to a webhook where one is set.

Dagster's own run-failure sensor counts a failure as told although telling it raised, so that an alert is lost when the
webhook is away for a minute. This one looks at the failed runs themselves, and remembers those that it has told of.

No `from __future__ import annotations` here: Dagster reads the context's annotation at import.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import dagster as dg
import msgspec

from lambda_pipeline.automation.webhook import Webhook
from lambda_pipeline.batch.partitions import days_of_tags, describe_days
from lambda_pipeline.errors import WebhookError

_EVERY = 30  # seconds
_LOOK_BACK = timedelta(hours=1)  # runs end by the clocks of their machines, and are stored a while later
_KEEP_TRYING = timedelta(days=7)
_MOST_SECONDS = 10.0  # of a tick, after which no other post is begun: the other sensors wait for it


class _Known(msgspec.Struct):
    """The sensor's cursor: failures of before `since` are done with, of later ones those told of, by run.

    Times are when a run ended, in seconds since 1970.
    """

    since: float
    told: dict[str, float] = {}


def build_failure_sensor(
    webhook: Webhook | None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> dg.SensorDefinition:
    """Tells of every failed run; what the webhook (`ALERT_WEBHOOK_URL`) does not take is posted again for a week."""

    @dg.sensor(
        name="run_failures", default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=_EVERY,
        description="Logs every failed run and posts it to ALERT_WEBHOOK_URL, where that is set. What is not taken "
        "there is posted again until it is.",
    )  # fmt: skip
    def run_failures(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now = clock()
        known = _remember(context.cursor, now)
        texts, waiting, refusal = _tell(context, webhook, known)
        _forget(known, waiting, now)
        context.update_cursor(msgspec.json.encode(known).decode())
        if waiting:
            why = refusal or "The next tick goes on."
            return dg.SkipReason(f"alerts that wait to be posted: {len(waiting)}. {why}")
        where = "logged; ALERT_WEBHOOK_URL is not set" if webhook is None else "posted"
        return dg.SkipReason(f"{' '.join(texts)} ({where})" if texts else "no run has failed")

    return run_failures


def _remember(cursor: str | None, now: datetime) -> _Known:
    """What the cursor says; at first, or after a sensor of this name that had another one, a short look back."""
    with suppress(msgspec.DecodeError):
        if cursor:
            return msgspec.json.decode(cursor, type=_Known)
    return _Known(since=(now - _LOOK_BACK).timestamp())


def _tell(
    context: dg.SensorEvaluationContext, webhook: Webhook | None, known: _Known
) -> tuple[list[str], list[float], WebhookError | None]:
    """Tell of what failed, and note it as told; the texts, when runs ended whose alert waits, and the last refusal."""
    texts: list[str] = []
    waiting: list[float] = []
    refusal = None
    begun = time.monotonic()
    for run, ended_at in _failed(context.instance, known):
        if time.monotonic() - begun > _MOST_SECONDS:
            waiting.append(ended_at)
            continue
        text = describe_failure(run, _cause(context.instance, run))
        context.log.error(text)
        try:
            if webhook is not None:
                webhook.post(text, {"run_id": run.run_id, "job": run.job_name})
        except WebhookError as error:  # one that is refused for what it says does not hold up the others
            refusal = error
            waiting.append(ended_at)
        else:
            known.told[run.run_id] = ended_at
            texts.append(text)
    return texts, waiting, refusal


def describe_failure(run: dg.DagsterRun, cause: str) -> str:
    """One sentence: what failed, on which days, and why."""
    days = days_of_tags(run.tags)
    when = "" if days is None else f" on {describe_days(days)}"
    return f"Run {run.run_id[:8]} of {run.job_name}{when} failed: {cause}"


def _failed(instance: dg.DagsterInstance, known: _Known) -> list[tuple[dg.DagsterRun, float]]:
    """The failed runs that nobody was told of, and when they ended, in this order."""
    filters = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        updated_after=datetime.fromtimestamp(known.since, UTC) - timedelta(seconds=1),  # when it ended, or later
    )
    found = [(one.dagster_run, one.end_time or 0.0) for one in instance.get_run_records(filters)]
    return sorted(
        ((run, ended_at) for run, ended_at in found if ended_at >= known.since and run.run_id not in known.told),
        key=lambda one: one[1],
    )


def _forget(known: _Known, waiting: list[float], now: datetime) -> None:
    """Move `since` up to what still waits, and to a while ago at most; forget what was told of before it."""
    since = min([*waiting, (now - _LOOK_BACK).timestamp()])
    known.since = max(known.since, since, (now - _KEEP_TRYING).timestamp())
    known.told = {run_id: ended_at for run_id, ended_at in known.told.items() if ended_at >= known.since}


def _cause(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """What the first step that failed raised, out of Dagster's wrapping; else what Dagster says of the run."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [entry.get_dagster_event() for entry in instance.all_logs(run.run_id, kinds)]
    for event in events:
        error = event.step_failure_data.error if event.is_step_failure else None
        while error is not None and error.cause is not None and str(error.cls_name).startswith("Dagster"):
            error = error.cause
        if error is not None:
            return f"{event.step_key}: {error.message.strip().splitlines()[0]}"
    said = next((event.message for event in events if event.message), None)
    return (said or "no reason given").strip().splitlines()[0]
