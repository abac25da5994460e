"""Speed daemons as a user starts them, each a process of its own, and what they take of the machine."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.servers import Database, Servers
from lambda_pipeline.local import processes
from lambda_pipeline.local.processes import Child

MIB = 1024 * 1024


@dataclass(frozen=True)
class Daemon:
    """A running `lambda-pipeline speed`."""

    child: Child
    log_file: Path

    def check(self) -> None:
        """Raise RuntimeError with the end of its log where it is gone."""
        if not self.child.alive:
            raise RuntimeError(f"the daemon ended:\n{processes.log_tail(self.log_file)}")

    def tree(self) -> list[psutil.Process]:
        """The process and whatever it started."""
        with suppress(psutil.Error):
            leader = psutil.Process(self.child.pid)
            return [leader, *leader.children(recursive=True)]
        return []

    def memory(self) -> float:
        """Its memory in MiB: the proportional set size, which counts a shared page once."""
        total = 0
        for process in self.tree():
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total / MIB


@contextmanager
def speed_daemons(
    servers: Servers, database: Database, topic: str, group: str, count: int = 1
) -> Iterator[list[Daemon]]:
    """Start daemons in one consumer group, and stop them afterwards. LAMBDA_SPEED_* of our environment apply."""
    settings = {
        "DATABASE_URL": database.url("lambda_writer"),
        "KAFKA_BOOTSTRAP_SERVERS": servers.broker.bootstrap_servers,
        "KAFKA_TOPIC": topic,
        "KAFKA_CONSUMER_GROUP": group,
        "LAMBDA_CITY": str(servers.catalogue),
        "LAMBDA_HOME": str(servers.home.path),
    }
    running: list[Daemon] = []
    try:
        for number in range(count):
            log_file = servers.home.logs / f"{group}-{number}.log"
            running.append(Daemon(spawn_module("lambda_pipeline", ["speed"], log_file, servers, settings), log_file))
        yield running
    finally:
        for daemon in running:
            processes.stop(daemon.child)


def spawn_module(module: str, arguments: list[str], log_file: Path, servers: Servers, extra: dict[str, str]) -> Child:
    """`python -m module` in the temporary home, so that no `.env` of the current folder is read."""
    return spawn_python([sys.executable, "-m", module, *arguments], log_file, servers, extra)


def spawn_python(command: list[str], log_file: Path, servers: Servers, extra: dict[str, str]) -> Child:
    """A process that ends with us, however we end."""
    environment = {**os.environ, "PYTHONPATH": _import_path(), **extra}
    return processes.spawn(command[-1], command, log_file, environment, cwd=servers.home.path)


@dataclass
class ProcessorTime:
    """Processor seconds of the daemons, PostgreSQL and the broker since this was made: who of them takes the cores."""

    daemons: list[Daemon]
    servers: Servers
    _started: dict[str, float] = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._started, self._at = self._now(), time.monotonic()

    def cores(self) -> dict[str, float]:
        """Cores that each took, on average, since the start."""
        wall = time.monotonic() - self._at
        return {name: (seconds - self._started[name]) / wall for name, seconds in self._now().items()}

    def _now(self) -> dict[str, float]:
        return {
            "daemon": sum(map(_seconds, (process for daemon in self.daemons for process in daemon.tree()))),
            "postgres": _tree_seconds(self.servers.postgres.pid),
            "kafka": _tree_seconds(self.servers.broker.pid),
        }


def _tree_seconds(pid: int | None) -> float:
    """Of a server: its processes, and those of its that have ended."""
    with suppress(psutil.Error):
        leader = psutil.Process(pid)
        ended = leader.cpu_times()
        return (
            _seconds(leader)
            + ended.children_user
            + ended.children_system
            + sum(map(_seconds, leader.children(recursive=True)))
        )
    return 0.0


def _seconds(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _import_path() -> str:
    """Where a process that starts in another folder finds the benchmarks and the package."""
    here = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
