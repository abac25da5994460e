"""Services are started in order, restarted when they die, shown as they are, and stopped without a trace."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local.home import Home, free_port
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline.local.supervisor import (
    HEALTHY_AFTER,
    MAX_BACKOFF,
    Service,
    State,
    Status,
    Supervisor,
    listens,
    supervised,
)

FOREVER = "import time; time.sleep(120)"


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeServer:
    """A server without a process, that writes down what is done to it."""

    def __init__(self, name: str, log: list[str], folder: Path) -> None:
        self.name = name
        self.log_file = folder / f"{name}.log"
        self.log = log
        self.living = False
        self.broken = False

    @property
    def pid(self) -> int | None:
        return 1 if self.living else None

    def start(self) -> None:
        self.log.append(f"start {self.name}")
        if self.broken:
            raise EmbeddedServerError(f"{self.name} is broken.")
        self.living = True

    def stop(self, force: bool = False) -> None:
        self.log.append(f"stop {self.name}")
        self.living = False

    def kill(self) -> None:
        self.log.append(f"kill {self.name}")
        self.living = False

    def alive(self) -> bool:
        return self.living


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def service(name: str, code: str = FOREVER, **more: object) -> Service:
    return Service(name, [sys.executable, "-c", code], **more)  # type: ignore[arg-type]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def ticked(supervisor: Supervisor, condition: Callable[[Status], bool]) -> bool:
    """Tick until the only service's status fulfils the condition."""

    def look() -> bool:
        supervisor.tick()
        return condition(supervisor.statuses()[0])

    return wait_until(look, 20)


def test_services_start_in_order_and_stop_in_reverse(home: Home) -> None:
    log: list[str] = []
    with Supervisor(home) as supervisor:
        supervisor.start([FakeServer("a", log, home.logs), FakeServer("b", log, home.logs)])
        assert [(status.name, status.state) for status in supervisor.statuses()] == [
            ("a", State.RUNNING),
            ("b", State.RUNNING),
        ]
    assert log == ["start a", "start b", "stop b", "stop a"]
    assert {status.state for status in supervisor.statuses()} == {State.STOPPED}


def test_a_service_is_waited_for_until_it_is_ready(home: Home) -> None:
    port = free_port()
    code = f"""
import socket, time
time.sleep(0.3)
server = socket.create_server(("127.0.0.1", {port}))
time.sleep(120)
"""
    with supervised(home, [service("web", code, ready=listens(port))]) as supervisor:
        status = supervisor.statuses()[0]
        assert (status.state, status.restarts) == (State.RUNNING, 0)
        assert status.pid
        assert listens(port)()
    assert not listens(port)()
    assert gone(status.pid)


def test_a_service_that_does_not_get_ready_is_an_error_with_its_log(home: Home) -> None:
    log: list[str] = []
    code = "import sys; sys.exit('no key was given')"
    with (
        pytest.raises(EmbeddedServerError, match=r"(?s)web is not ready after 1 s.*no key was given"),
        Supervisor(home) as supervisor,
    ):
        supervisor.start([FakeServer("a", log, home.logs), service("web", code, ready=lambda: False, ready_timeout=1)])
    assert log == ["start a", "stop a"]


def test_a_service_that_dies_is_restarted(home: Home) -> None:
    with Supervisor(home) as supervisor:
        supervisor.start([service("a")])
        first = supervisor.statuses()[0].pid
        assert first
        os.kill(first, signal.SIGKILL)
        assert ticked(supervisor, lambda status: status.state is State.BACKING_OFF)
        assert supervisor.statuses()[0].pid is None
        assert ticked(supervisor, lambda status: status.state is State.RUNNING)
        status = supervisor.statuses()[0]
        assert status.restarts == 1
        assert status.pid
        assert status.pid != first
        assert not gone(status.pid)
    assert gone(status.pid)


def backoffs(supervisor: Supervisor, server: FakeServer, clock: Clock, deaths: int) -> list[float]:
    """Let the server die so often, and return how long each restart was put off."""
    delays = []
    for _ in range(deaths):
        server.living = False
        supervisor.tick()
        died = clock.now
        while not server.living:
            clock.now += 0.5
            supervisor.tick()
        delays.append(clock.now - died)
    return delays


def test_restarts_back_off_and_health_resets_it(home: Home) -> None:
    clock, server = Clock(), FakeServer("a", [], home.logs)
    with Supervisor(home, clock) as supervisor:
        supervisor.start([server])
        assert backoffs(supervisor, server, clock, 7) == [1, 2, 4, 8, 16, MAX_BACKOFF, MAX_BACKOFF]
        clock.now += HEALTHY_AFTER
        assert backoffs(supervisor, server, clock, 2) == [1, 2]
        assert supervisor.statuses()[0].restarts == 9


def test_a_restart_that_fails_is_another_reason_to_back_off(home: Home) -> None:
    clock, server = Clock(), FakeServer("a", [], home.logs)
    with Supervisor(home, clock) as supervisor:
        supervisor.start([server])
        server.living, server.broken = False, True
        supervisor.tick()
        clock.now += 1
        supervisor.tick()
        status = supervisor.statuses()[0]
        assert (status.state, status.last_failure) == (State.BACKING_OFF, "a is broken.")
        server.broken = False
        clock.now += 2
        supervisor.tick()
        assert supervisor.statuses()[0].state is State.RUNNING


def test_a_server_that_cannot_start_at_all_is_an_error_and_the_others_are_stopped(home: Home) -> None:
    log: list[str] = []
    broken = FakeServer("b", log, home.logs)
    broken.broken = True
    with pytest.raises(EmbeddedServerError, match="b is broken"), Supervisor(home) as supervisor:
        supervisor.start([FakeServer("a", log, home.logs), broken, FakeServer("c", log, home.logs)])
    assert log == ["start a", "start b", "stop b", "stop a"]


def test_grandchildren_are_stopped_with_their_service(home: Home) -> None:
    code = f"""
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", {FOREVER!r}], start_new_session=True).pid, flush=True)
time.sleep(120)
"""
    log = home.logs / "a.log"
    with supervised(home, [service("a", code, ready=lambda: log.read_text().strip() != "")]):
        grandchild = int(log.read_text())
        assert not gone(grandchild)
    assert gone(grandchild)
    assert list(home.run.glob("service-*.json")) == []


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(home: Home, which: signal.Signals) -> None:
    before = signal.getsignal(which)
    log: list[str] = []
    with Supervisor(home) as supervisor:
        supervisor.start([FakeServer("a", log, home.logs), service("b")])
        pid = supervisor.statuses()[1].pid
        assert pid
        supervisor.run(on_tick=lambda _statuses: os.kill(os.getpid(), which))
    assert log == ["start a", "stop a"]
    assert gone(pid)
    assert signal.getsignal(which) is before


def test_a_second_signal_kills_at_once(home: Home) -> None:
    """The service ignores SIGTERM and has two minutes to stop; a helper sends us the second signal meanwhile."""
    code = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(120)
"""
    log = home.logs / "a.log"
    with Supervisor(home) as supervisor:
        supervisor.start([service("a", code, grace=120, ready=lambda: "ready" in log.read_text())])
        pid = supervisor.statuses()[0].pid
        assert pid
        os.kill(os.getpid(), signal.SIGINT)
        supervisor.run()
        helper = f"import os, signal, time; time.sleep(0.5); os.kill({os.getpid()}, signal.SIGINT)"
        interrupt = subprocess.Popen([sys.executable, "-c", helper])
        supervisor.stop_all()
        interrupt.wait()
    assert gone(pid)


def test_what_a_killed_supervisor_left_ends_with_the_kernel_or_at_the_next_start(home: Home) -> None:
    stubborn = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen([sys.executable, "-c", {FOREVER!r}]).pid, flush=True)
time.sleep(120)
"""
    code = f"""
import sys
from pathlib import Path
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.supervisor import Service, Supervisor
home = Home(Path({str(home.path)!r}))
with Supervisor(home) as supervisor:
    supervisor.start([Service("plain", [sys.executable, "-c", {FOREVER!r}]),
                      Service("stubborn", [sys.executable, "-c", {stubborn!r}])])
    print(*(status.pid for status in supervisor.statuses()), flush=True)
    supervisor.run()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    plain, stubborn_pid = map(int, parent.stdout.readline().split())
    log = home.logs / "stubborn.log"
    assert wait_until(lambda: log.read_text().strip() != "", 20)
    parent.kill()
    parent.communicate()
    assert wait_until(lambda: gone(plain), 10)
    assert not gone(stubborn_pid)
    with supervised(home, [service("other")]):
        assert gone(stubborn_pid)
        assert gone(int(log.read_text()))


def test_run_ends_when_its_condition_holds(home: Home) -> None:
    seen: list[list[Status]] = []
    with supervised(home, [service("a")]) as supervisor:
        supervisor.run(until=lambda: len(seen) == 2, on_tick=seen.append, interval=0.01)
        assert not supervisor.stop_requested
    assert [status.name for status in seen[0]] == ["a"]
