"""Keeps a set of services running: starts them in order, restarts what dies, stops all of it in reverse order.

It has no thread of its own. Everything happens in `tick`, which the main thread calls (`run` does), because a child is
tied to the thread that started it. Nothing outlives it: an orderly end stops every service with all its descendants;
when it is killed itself, the kernel ends its direct children, and the next start finds the rest by their records.
"""

import contextlib
import datetime as dt
import enum
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Protocol

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local import processes
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.processes import Child

logger = logging.getLogger(__name__)

MIN_BACKOFF = 1.0
MAX_BACKOFF = 30.0
HEALTHY_AFTER = 60.0  # seconds of running after which the next death counts as the first

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed


@dataclass(frozen=True)
class Service:
    """A program to keep running.

    `env` is its whole environment (None: ours). `ready` says whether it serves yet; it is called from `tick`, must be
    quick and must not raise. Within `ready_timeout` seconds after the supervisor's start it must have become true.
    `grace` is how many seconds it has to stop. `death_signal` is what the kernel sends it when the supervisor itself is
    killed: SIGTERM, so that a program with children (Dagster) stops them too.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    ready: Callable[[], bool] | None = None
    ready_timeout: float = 60.0
    grace: float = 10.0
    cwd: Path | None = None
    death_signal: signal.Signals = signal.SIGTERM


class Server(Protocol):
    """A server that starts itself, such as EmbeddedPostgres and EmbeddedKafka: `start` returns once it is ready."""

    name: str
    log_file: Path

    def start(self) -> None:
        """Start it, or raise EmbeddedServerError."""

    def stop(self, force: bool = False) -> None:
        """Stop it, within a bounded time."""

    def kill(self) -> None:
        """End it at once."""

    def alive(self) -> bool:
        """Whether its process lives."""

    @property
    def pid(self) -> int | None:
        """Its process number."""


class State(enum.StrEnum):
    """What a service is doing."""

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Status:
    """A service as a live display shows it. `since` is when it came into this state (UTC)."""

    name: str
    state: State
    since: dt.datetime
    restarts: int
    pid: int | None
    log_file: Path
    last_failure: str = ""


class Supervisor:
    """Supervises the services of one home, whose lock the caller holds. Use it as a context manager:

        with home.lock("demo"), Supervisor(home) as supervisor:
            supervisor.start([postgres, kafka, Service("ingest", [...]), ...])
            supervisor.run(on_tick=show)

    Within the block SIGINT, SIGTERM and SIGHUP ask for an orderly stop, and a second one kills at once. Leaving the
    block stops everything. What takes long and is better interrupted, such as the first download of Kafka's jars
    (`ensure_jars`), belongs before the block.
    """

    def __init__(self, home: Home, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds, for the backoff."""
        self.stop_requested = False
        self._home = home
        self._clock = clock
        self._killing = False
        self._units: list[_Unit] = []
        self._handlers: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> "Supervisor":
        """Take over the signals."""
        for which in _SIGNALS:
            self._handlers[which] = signal.signal(which, self._on_signal)
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop everything, then give the signals back."""
        try:
            self.stop_all()
        finally:
            for which, handler in self._handlers.items():
                signal.signal(which, handler)

    def start(self, services: Sequence[Service | Server]) -> None:
        """Start services in order, each once the one before it is ready. Returns early when a stop is asked for.

        Leftovers of an earlier crash are stopped first. May be called again to add services.

        Raises:
            EmbeddedServerError: a server does not start, or a service is not ready in time; the message carries the
                end of its log. What was started before keeps running until the block is left.
        """
        if not self._units:
            self._stop_leftovers()
        for service in services:
            if self._stopping():
                return
            unit = _Unit(_ProcessServer(service, self._home) if isinstance(service, Service) else service, self._clock)
            self._units.append(unit)
            try:
                unit.launch(first=True)
            except EmbeddedServerError:
                if self._stopping():  # it was killed by the second signal
                    return
                raise
            timeout = service.ready_timeout if isinstance(service, Service) else 0.0
            processes.wait_until(lambda unit=unit: self._settled(unit), timeout, interval=0.05)  # type: ignore[misc]
            if unit.status.state is not State.RUNNING and not self._stopping():
                tail = processes.log_tail(unit.server.log_file)
                raise EmbeddedServerError(
                    f"{unit.server.name} is not ready after {timeout:.0f} s. "
                    f"The end of {unit.server.log_file}:\n{tail}\n",
                    processes.advice(tail, "The log says why.", self._home.path),
                )

    def raise_if_stopped(self) -> None:
        """Raise KeyboardInterrupt once a stop was asked for: between the phases of a start."""
        if self.stop_requested:
            raise KeyboardInterrupt

    def tick(self) -> None:
        """Look at every service once: note who is ready or died, restart whose time has come. Main thread only."""
        for unit in self._units:
            if self.stop_requested:
                return
            unit.look()

    def run(
        self,
        until: Callable[[], bool] | None = None,
        on_tick: Callable[[list[Status]], None] | None = None,
        interval: float = 0.25,
    ) -> None:
        """Tick every `interval` seconds until `until` holds or a stop is asked for. `on_tick` may show the statuses."""
        while not self.stop_requested and not (until and until()):
            self.tick()
            if on_tick:
                on_tick(self.statuses())
            time.sleep(interval)

    def statuses(self) -> list[Status]:
        """All services in the order of their start."""
        return [unit.status for unit in self._units]

    def stop_all(self) -> None:
        """Stop everything in reverse order, each within its grace period. One that does not stop holds up no other."""
        self.stop_requested = True
        logger.info("stopping %s", ", ".join(unit.server.name for unit in reversed(self._units)) or "nothing")
        for unit in reversed(self._units):
            if self._killing:
                unit.server.kill()
            try:
                unit.server.stop(force=True)
            except EmbeddedServerError:
                logger.exception("%s did not stop", unit.server.name)
            unit.set_state(State.STOPPED)

    def _stopping(self) -> bool:
        return self.stop_requested  # a signal may change it at any time, which type checkers do not expect

    def _settled(self, unit: "_Unit") -> bool:
        self.tick()
        return self.stop_requested or unit.status.state is State.RUNNING

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        # No logging and no waiting for a child here: the handler may have interrupted just that.
        del number
        if not self.stop_requested:
            self.stop_requested = True
            return
        self._killing = True
        for unit in reversed(self._units):
            unit.server.kill()

    def _stop_leftovers(self) -> None:
        for record_file in sorted(self._home.run.glob("service-*.json")):
            pids = processes.stop_leftovers(record_file)
            if pids:
                logger.warning("stopped what a crash left of %s: pids %s", record_file.stem, pids)


class _ProcessServer:
    """A `Service` as a `Server`."""

    def __init__(self, service: Service, home: Home) -> None:
        self.name = service.name
        self.log_file = home.logs / f"{service.name}.log"
        self._service = service
        self._record_file = home.run / f"service-{service.name}.json"
        self._child: Child | None = None

    def start(self) -> None:
        service = self._service
        self._child = processes.spawn(
            service.name,
            service.argv,
            self.log_file,
            service.env,
            cwd=service.cwd,
            record_file=self._record_file,
            death_signal=service.death_signal,
        )

    def stop(self, force: bool = False) -> None:
        del force  # what it left in an earlier life was stopped at the start
        if self._child is not None:
            processes.stop(self._child, self._service.grace)
            self._record_file.unlink(missing_ok=True)
            self._child = None

    def kill(self) -> None:
        if self._child is not None:
            processes.kill(self._child)

    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    def ready(self) -> bool:
        return self._service.ready is None or self._service.ready()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None


class _Unit:
    """One supervised server with its state."""

    def __init__(self, server: Server, clock: Callable[[], float]) -> None:
        self.server = server
        self.status = Status(server.name, State.STOPPED, dt.datetime.now(dt.UTC), 0, None, server.log_file)
        self._clock = clock
        self._failures = 0  # since it was last healthy
        self._entered = clock()
        self._delay = 0.0

    def launch(self, first: bool = False) -> None:
        """Start it. A failure of the very first start is the caller's; a later one is another reason to back off."""
        self.set_state(State.STARTING)
        try:
            self.server.start()
        except EmbeddedServerError as error:
            if first:
                raise
            self._back_off(error.message.splitlines()[0])
            return
        self._note_ready()

    def look(self) -> None:
        """Notice what has happened to it since the last look, and act on it."""
        state = self.status.state
        if state is State.BACKING_OFF:
            if self._clock() - self._entered >= self._delay:
                self.status = replace(self.status, restarts=self.status.restarts + 1)
                self.launch()
        elif state is not State.STOPPED and not self.server.alive():
            if state is State.RUNNING and self._clock() - self._entered >= HEALTHY_AFTER:
                self._failures = 0
            self.server.stop(force=True)  # what it leaves must not stand in the way of its successor
            self._back_off("died")
        elif state is State.STARTING:
            self._note_ready()

    def set_state(self, state: State) -> None:
        """Enter a state, now."""
        self._entered = self._clock()
        pid = self.server.pid if state in (State.STARTING, State.RUNNING) else None
        self.status = replace(self.status, state=state, since=dt.datetime.now(dt.UTC), pid=pid)

    def _note_ready(self) -> None:
        if isinstance(self.server, _ProcessServer):
            self.status = replace(self.status, pid=self.server.pid)
            if not self.server.ready():
                return
        self.set_state(State.RUNNING)

    def _back_off(self, why: str) -> None:
        self._delay = min(MAX_BACKOFF, MIN_BACKOFF * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        logger.warning("%s %s; again in %.0f s; see %s", self.server.name, why, self._delay, self.server.log_file)
        self.status = replace(self.status, last_failure=why)
        self.set_state(State.BACKING_OFF)


def reachable(host: str) -> str:
    """The address under which this machine reaches what listens at `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not listened at


def listens(port: int, host: str = "127.0.0.1") -> Callable[[], bool]:
    """A `ready` for a service that serves at `host`:`port`: whether somebody accepts connections there."""

    def ready() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((reachable(host), port), timeout=0.5):
            return True
        return False

    return ready


@contextlib.contextmanager
def supervised(home: Home, services: Sequence[Service | Server]) -> Iterator[Supervisor]:
    """Services for as long as a block runs, for commands that need them only meanwhile."""
    with Supervisor(home) as supervisor:
        supervisor.start(services)
        yield supervisor
