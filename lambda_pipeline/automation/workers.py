"""Who works on a run, and what is done about a run that nobody works on any more.

Dagster's code server notices the death of a process that it started, but nobody notices when both die (a power cut),
or when a backfill of the command line is killed. Such a run counts as running for ever: its days wait for it, and two
of them fill the queue. So the process that works on a run signs it first, and whoever finds a signature of this machine
without its process ends that run. Runs of other machines are left to the time limits of dagster.yaml.
"""

import socket
from collections.abc import Iterator

import dagster as dg
import psutil
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

PROCESS_TAG = "lambda_pipeline/process"
_SAME_START = 2.0  # seconds: a start is told to 10 ms, by a clock that may have been set since


class _SigningExecutor(InProcessExecutor):
    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        run_id = plan_context.run_id
        plan_context.instance.add_run_tags(run_id, {PROCESS_TAG: signature(run_id, psutil.Process())})
        yield from super().execute(plan_context, execution_plan)


@dg.executor(name="in_process")
def signing_executor(_context: dg.InitExecutorContext) -> dg.Executor:
    """Dagster's in-process executor, which signs the run first."""
    return _SigningExecutor(RetryMode.ENABLED)


def signature(run_id: str, process: psutil.Process) -> str:
    """What a process signs a run with: its machine, number and start, because a number alone comes again.

    The run is named too: a run that is tried again has the tags of the one before.
    """
    return f"{_host()} {process.pid} {process.create_time():.2f} {run_id}"


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report the started runs of this machine as failed whose process is gone; returns their ids.

    From then on they are like any other that failed: told of, tried again, and out of the queue's way.
    """
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        signed = run.tags.get(PROCESS_TAG, "")
        if not _is_dead(signed, run.run_id):
            continue
        now = instance.get_run_by_id(run.run_id)  # it may have ended properly while we looked
        if now is not None and now.status is dg.DagsterRunStatus.STARTED:
            instance.report_run_failed(now, f"The process that worked on it is gone ({signed}).")
            ended.append(run.run_id)
    return ended


def _is_dead(signed: str, run_id: str) -> bool:
    """Whether this machine signed the run, with a process that no longer lives."""
    try:
        host, number, start, of_run = signed.split(" ")
        if host != _host() or of_run != run_id:
            return False
        process = psutil.Process(int(number))
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(process.create_time() - float(start)) > _SAME_START
    except psutil.NoSuchProcess:
        return True
    except ValueError:  # unsigned, or by another version
        return False


def _host() -> str:
    return socket.gethostname().replace(" ", "_")
