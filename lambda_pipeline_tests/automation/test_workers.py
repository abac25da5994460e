"""Runs whose process is gone: told from those of living processes, of other machines and of earlier attempts."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg
import psutil
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from lambda_pipeline.automation.workers import PROCESS_TAG, end_dead_runs, signature, signing_executor
from lambda_pipeline_tests.automation.started_runs import started_run

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@contextmanager
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits to be killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as made:
        try:
            yield made
        finally:
            made.kill()


def by_us(run_id: str) -> str:
    return signature(run_id, psutil.Process())


def changed(run_id: str, place: int, value: str) -> str:
    """Our signature with another number (1) or start (2)."""
    parts = by_us(run_id).split()
    parts[place] = value
    return " ".join(parts)


@pytest.mark.parametrize(
    ("sign", "status"),
    [
        pytest.param(by_us, STARTED, id="of a living process"),
        pytest.param(lambda run: changed(run, 1, "4000000"), FAILURE, id="of a number that nobody has"),
        pytest.param(lambda run: changed(run, 2, "1.00"), FAILURE, id="of a number that came again"),
        pytest.param(lambda run: f"elsewhere 4000000 1.00 {run}", STARTED, id="of another machine"),
        pytest.param(lambda _: changed("the-run-before", 1, "4000000"), STARTED, id="inherited from the run before"),
        pytest.param(lambda _: "unreadable", STARTED, id="of another version"),
    ],
)
def test_a_run_is_ended_if_and_only_if_a_process_of_this_machine_signed_it_and_is_gone(
    instance: dg.DagsterInstance, sign: Callable[[str], str], status: dg.DagsterRunStatus
) -> None:
    run_id = started_run(instance, sign)
    assert end_dead_runs(instance) == ([run_id] if status is FAILURE else [])
    (run,) = instance.get_runs()
    assert run.status is status
    assert end_dead_runs(instance) == []


def test_a_killed_process_is_gone_also_while_its_parent_has_not_noticed(instance: dg.DagsterInstance) -> None:
    with process() as worker:
        run_id = started_run(instance, lambda run_id: signature(run_id, psutil.Process(worker.pid)))
        assert end_dead_runs(instance) == []
        worker.kill()
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # dead, and still a number in the system's table
        assert end_dead_runs(instance) == [run_id]


def test_a_run_that_ends_well_just_before_its_process_does_is_left_alone(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = started_run(instance, lambda run: changed(run, 1, "4000000"))
    before = instance.get_runs()
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "batch_layer"), run_id)
    monkeypatch.setattr(instance, "get_runs", lambda *_: before)
    assert end_dead_runs(instance) == []


def test_the_executor_signs_the_run_with_its_process(instance: dg.DagsterInstance) -> None:
    seen = []

    @dg.op
    def look(context: dg.OpExecutionContext) -> None:
        run = context.instance.get_run_by_id(context.run_id)
        assert run is not None
        seen.append(run.tags[PROCESS_TAG])

    @dg.job(executor_def=signing_executor)
    def job() -> None:
        look()

    run = instance.create_run_for_job(job)
    list(execute_run_iterator(InMemoryJob(job), run, instance))
    assert seen == [by_us(run.run_id)]
