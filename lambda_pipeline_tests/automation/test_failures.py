"""The failure sensor over real HTTP: every failed run is told of once, also after the webhook was away."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.run_status_sensor_definition import RunStatusSensorCursor

from lambda_pipeline.automation import failures
from lambda_pipeline.automation.failures import build_failure_sensor
from lambda_pipeline.automation.webhook import Webhook
from lambda_pipeline_tests.automation.started_runs import started_run
from lambda_pipeline_tests.ingestion.servers import Scripted, ScriptedServer

OK, REFUSED = Scripted(status=200), Scripted(status=404)


class Alerts:
    """The sensor with its cursor, a Dagster and a receiver of its own. `late` is how far its clock is ahead."""

    def __init__(self, instance: dg.DagsterInstance, receiver: ScriptedServer) -> None:
        self.instance, self.receiver = instance, receiver
        self.late = timedelta()
        self.webhook: Webhook | None = Webhook(receiver.url)
        self.cursor: str | None = None

    def fail(self, why: str) -> str:
        """A run that fails now; its id."""
        run_id = started_run(self.instance, lambda _: "nobody", {"dagster/partition": "2025-06-02"})
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        self.instance.report_run_failed(run, why)
        return run_id

    def tick(self) -> str:
        """What the sensor says."""
        sensor = build_failure_sensor(self.webhook, lambda: datetime.now(UTC) + self.late)
        with dg.build_sensor_context(self.instance, cursor=self.cursor) as context:
            found = sensor.evaluate_tick(context)
        self.cursor = found.cursor
        return str(found.skip_message)

    def told(self) -> list[str]:
        """Why runs failed, as far as the receiver was told since it was asked last."""
        texts = [json.loads(body)["text"].rpartition(": ")[2] for body in self.receiver.bodies]
        self.receiver.bodies.clear()
        return texts


@pytest.fixture
def alerts() -> Iterator[Alerts]:
    receiver = ScriptedServer()
    with dg.DagsterInstance.ephemeral() as instance:
        yield Alerts(instance, receiver)
    receiver.close()


def test_every_failed_run_is_posted_once_with_its_days_and_its_cause(alerts: Alerts) -> None:
    assert alerts.tick() == "no run has failed"
    first, _ = alerts.fail("one"), alerts.fail("two")
    assert alerts.tick().endswith("(posted)")
    assert [json.loads(body) for body in alerts.receiver.bodies[:1]] == [
        {"text": f"Run {first[:8]} of batch_layer on 2025-06-02 failed: one", "run_id": first, "job": "batch_layer"}
    ]
    assert alerts.told() == ["one", "two"]
    alerts.fail("three")
    alerts.tick()
    assert alerts.tick() == "no run has failed"
    assert alerts.told() == ["three"]


def test_what_the_webhook_does_not_take_is_posted_until_it_does_and_the_rest_is_not_repeated(alerts: Alerts) -> None:
    for why in ("one", "two"):
        alerts.fail(why)
    alerts.receiver.script = [REFUSED, OK]
    waits = "alerts that wait to be posted: 1. the alert webhook answers 404"
    assert alerts.tick().startswith(waits)
    assert alerts.told() == ["one", "two"], "the first does not hold up the second"
    alerts.receiver.script = [REFUSED]
    alerts.late = timedelta(days=1)
    assert alerts.tick().startswith(waits)
    alerts.fail("three")
    alerts.receiver.script = [OK]
    alerts.told()
    alerts.tick()
    assert alerts.told() == ["one", "three"]


def test_a_tick_that_takes_long_leaves_the_rest_to_the_next(alerts: Alerts, monkeypatch: pytest.MonkeyPatch) -> None:
    for why in ("one", "two"):
        alerts.fail(why)
    with monkeypatch.context() as patch:
        patch.setattr(failures, "_MOST_SECONDS", -1.0)
        assert alerts.tick() == "alerts that wait to be posted: 2. The next tick goes on."
    assert alerts.told() == []
    alerts.tick()
    assert alerts.told() == ["one", "two"]


def test_a_run_that_was_told_of_is_not_told_of_again_when_something_is_noted_at_it_later(alerts: Alerts) -> None:
    run_id = alerts.fail("one")
    alerts.tick()
    alerts.late = timedelta(hours=2)
    alerts.tick()  # forgets it
    alerts.instance.add_run_tags(run_id, {"note": "tried again"})
    assert alerts.tick() == "no run has failed"
    assert alerts.told() == ["one"]


def test_the_cursor_of_a_run_failure_sensor_that_had_the_name_before_is_no_hindrance(alerts: Alerts) -> None:
    alerts.cursor = RunStatusSensorCursor(record_id=7, record_timestamp="2025-06-02T00:00:00+00:00").to_json()
    alerts.fail("one")
    alerts.tick()
    assert alerts.tick() == "no run has failed"
    assert alerts.told() == ["one"]


def test_after_a_week_an_alert_is_given_up(alerts: Alerts) -> None:
    alerts.fail("one")
    alerts.receiver.script = [REFUSED]
    alerts.tick()
    alerts.late = timedelta(days=6, hours=23)
    assert alerts.tick().startswith("alerts that wait to be posted: 1.")
    alerts.late = timedelta(days=7, minutes=1)
    alerts.tick()
    assert alerts.tick() == "no run has failed"


def test_without_a_webhook_all_failures_are_logged_in_one_tick(alerts: Alerts) -> None:
    alerts.webhook = None
    for why in ("one", "two"):
        alerts.fail(why)
    said = alerts.tick()
    assert "failed: one Run" in said
    assert said.endswith("failed: two (logged; ALERT_WEBHOOK_URL is not set)")
    assert alerts.tick() == "no run has failed"
