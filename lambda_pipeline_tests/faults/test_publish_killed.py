"""A batch run that is killed inside a swap, among many hours to publish, while readers look all the time."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import dagster as dg
import pytest

from lambda_pipeline.automation.jobs import JOB_NAME
from lambda_pipeline.local.home import free_port
from lambda_pipeline.shipped import shipped_path
from lambda_pipeline_tests.faults.load import CountedLoad
from lambda_pipeline_tests.faults.readers import Helpers, helpers
from lambda_pipeline_tests.faults.stage import SEED, SPEED, Platform, assert_served_is_produced, size
from lambda_pipeline_tests.processes import Daemon, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(600)]
DAYS = 8
_SWAPS = (  # batch sessions that hold the publish lock exclusively
    "select a.pid from pg_stat_activity a join pg_locks l using (pid) "
    "where a.application_name = 'lambda-pipeline batch' and a.datname = current_database() "
    "and l.locktype = 'advisory' and l.objid = 1 and l.mode = 'ExclusiveLock' and l.granted"
)


@pytest.fixture
def readers() -> Iterator[Helpers]:
    with helpers() as group:
        yield group


@pytest.fixture
def load(platform: Platform, readers: Helpers) -> CountedLoad:
    """Days of observations, all of them consumed by the speed layer, and readers at work."""
    made = CountedLoad(
        platform.connection, platform.topic, platform.locations, SEED, hours=24 * DAYS, produced=readers.produced
    )
    made.send(6_000)
    platform.start(SPEED)
    platform.catches_up()
    readers.read(platform.url)
    return made


def freeze_in_swap(platform: Platform, pid: int) -> Callable[[], int]:
    """Freeze a run while it is inside a swap and has others before and after it; counts the hours that it published."""
    before = platform.rows("select coalesce(max(publication), 0) as n from published_hours")[0].n

    def published() -> int:
        return int(platform.rows("select count(*) as n from published_hours where publication > :n", n=before)[0].n)

    wait_for(lambda: published() > 3, "some hours are published", interval=0.005)
    wait_for(lambda: _is_frozen_in_swap(platform, pid), "the run is frozen inside a swap", interval=0)
    assert published() < 24 * DAYS, "all hours were published before it was frozen"
    return published


def kill_in_swap(platform: Platform, pid: int, with_it: Daemon | None = None) -> int:
    """Kill a run while it is inside a swap and has others before and after it; how many hours it has published.

    `with_it` is what started it, and is killed with all that descends from it.
    """
    published = freeze_in_swap(platform, pid)
    done = published()
    if with_it is None:
        os.kill(pid, signal.SIGKILL)
    else:
        with_it.kill()
    wait_for(lambda: not platform.rows(_SWAPS), "its lock is gone")
    assert published() == done
    return done


def _is_frozen_in_swap(platform: Platform, pid: int) -> bool:
    if not platform.rows(_SWAPS):
        return False
    os.kill(pid, signal.SIGSTOP)
    stays = time.monotonic() + 0.3  # a statement under way ends by itself; the transaction does not
    while time.monotonic() < stays:
        if not platform.rows(_SWAPS):
            os.kill(pid, signal.SIGCONT)
            return False
    return True


def assert_all_is_published(platform: Platform, load: CountedLoad, readers: Helpers) -> int:
    """Everything is served once, by the batch layer alone, and no reader saw anything else; how many snapshots."""
    assert_served_is_produced(platform, load)
    assert platform.rows("select count(*) as n from realtime_data")[0].n == 0
    seen = readers.stop()
    assert {"speed", "batch"} <= set().union(*(one.layers for one in seen))
    return sum(one.snapshots for one in seen)


def test_a_backfill_killed_inside_a_swap_and_run_again(platform: Platform, load: CountedLoad, readers: Helpers) -> None:
    stops = []
    for _ in range(size(1, 5)):
        run = platform.start(*platform.backfill(DAYS + 1), "--all")
        stops.append(kill_in_swap(platform, run.pid))
        run.kill()
        assert_served_is_produced(platform, load)
    platform.run(*platform.backfill(DAYS + 1))
    snapshots = assert_all_is_published(platform, load, readers)
    platform.report(f"backfill killed inside the swap after hour {stops}: {snapshots} snapshots")


@pytest.mark.full
def test_a_backfill_frozen_inside_a_swap_stops_nobody_for_long(
    platform: Platform, load: CountedLoad, readers: Helpers
) -> None:
    run = platform.start(*platform.backfill(DAYS + 1), "--all")
    published = freeze_in_swap(platform, run.pid)
    done = published()
    load.send(500)
    seconds = platform.catches_up(deadline=20)
    assert published() == done
    assert_served_is_produced(platform, load)
    run.thaw()
    assert run.wait(60) == 1
    assert run.log.strip().startswith("error: PostgreSQL"), "its session is gone"
    platform.run(*platform.backfill(DAYS + 1))
    snapshots = assert_all_is_published(platform, load, readers)
    platform.report(f"backfill frozen inside the swap: {seconds:.0f} s until the next commit, {snapshots} snapshots")


@pytest.fixture
def instance(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage, in whose environment its code server and daemon can be started."""
    port = free_port()
    platform.environment |= {"LAMBDA_DAGSTER_CODE_HOST": "127.0.0.1", "LAMBDA_DAGSTER_CODE_PORT": str(port)}
    for name in ("DAGSTER_HOME", "LAMBDA_DAGSTER_DATABASE_URL", "DAGSTER_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, platform.environment[name])
    with dg.DagsterInstance.get() as found:
        found.get_run_records(limit=1)  # makes its tables, before two processes do so at once
        yield found


def start_code_server(platform: Platform) -> Daemon:
    port = platform.environment["LAMBDA_DAGSTER_CODE_PORT"]
    command = ("code-server", "start", "-m", "lambda_pipeline.definitions", "-h", "127.0.0.1", "-p", port)
    server = platform.start(*command, module="dagster", name="dagster-code")
    wait_for(lambda: "Started Dagster code server" in server.log, "the code server runs")
    return server


def _workspace() -> str:
    return str(shipped_path("workspace.yaml"))


@pytest.mark.parametrize("also_the_code_server", [False, pytest.param(True, marks=pytest.mark.full)])
def test_a_run_of_dagsters_daemon_killed_inside_a_swap_is_a_failure_and_is_tried_again(
    platform: Platform, load: CountedLoad, readers: Helpers, instance: dg.DagsterInstance, also_the_code_server: bool
) -> None:
    server = start_code_server(platform)
    platform.start("run", "-w", _workspace(), module="dagster._daemon", name="dagster-daemon")
    today = platform.rows("select (now() at time zone timezone)::date as today from deployment")[0].today
    tags = {
        "dagster/asset_partition_range_start": str(today - timedelta(days=DAYS + 1)),
        "dagster/asset_partition_range_end": str(today),
    }
    command = ["job", "launch", "-w", _workspace(), "-l", "lambda_pipeline", "-j", JOB_NAME, "--tags", json.dumps(tags)]
    launched = platform.start(*command, module="dagster", name="launch")
    assert launched.wait(120) == 0, launched.log[-3000:]
    run_id = next(run.run_id for run in instance.get_runs() if run.tags.items() >= tags.items())
    wait_for(lambda: _worker(instance, run_id), "the run has a process")
    done = kill_in_swap(platform, _worker(instance, run_id), server if also_the_code_server else None)
    if also_the_code_server:  # the one before would have noticed
        start_code_server(platform)
    wait_for(lambda: _status(instance, run_id) is dg.DagsterRunStatus.FAILURE, "Dagster finds that the run failed")
    wait_for(lambda: _again(instance, run_id), "the run is tried again and succeeds", deadline=180)
    platform.run(*platform.backfill())  # the present hour may have begun meanwhile
    snapshots = assert_all_is_published(platform, load, readers)
    platform.report(f"Dagster's run killed inside the swap after hour {done}, tried again: {snapshots} snapshots")


def _worker(instance: dg.DagsterInstance, run_id: str) -> int:
    """The process in which a run's steps run; 0 before it has one."""
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is not None and event.is_engine_event and "Started process for run" in (event.message or ""):
            return int(event.engine_event_data.metadata["pid"].value)  # type: ignore[arg-type]
    return 0


def _status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def _again(instance: dg.DagsterInstance, run_id: str) -> bool:
    return any(run.root_run_id == run_id and run.status is dg.DagsterRunStatus.SUCCESS for run in instance.get_runs())
