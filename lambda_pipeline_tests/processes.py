"""Our commands as processes of their own, and waiting for what they bring about."""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from lambda_pipeline.local import processes

DEADLINE = 90.0  # seconds; on an idle machine each condition is met within a few


def wait_for(condition: Callable[[], object], what: str, deadline: float = DEADLINE, interval: float = 0.05) -> float:
    """Wait until a condition holds; returns after how many seconds. Fails with its name if it does not in time."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > deadline:
            pytest.fail(f"waited {deadline:.0f} s in vain until {what}")
        time.sleep(interval)
    return time.monotonic() - started


class Daemon:
    """A command of ours that runs until it is told to stop; its output is appended to `FOLDER/NAME.log`."""

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str],
        folder: Path,
        name: str,
        module: str = "lambda_pipeline",
    ) -> None:
        """Starts it. Main thread only."""
        self.name = name
        self.log_file = folder / f"{name}.log"
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        argv = [sys.executable, "-W", "ignore", "-m", module, *command]
        self._child = processes.spawn(name, argv, self.log_file, environment, cwd=folder)

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it runs (or is frozen)."""
        return self._child.alive

    @property
    def log(self) -> str:
        """What it has said so far."""
        with self.log_file.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.alive:
            self._child.popen.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to it and all that descends from it; returns when they are gone."""
        processes.kill(self._child)
        self._child.popen.wait()

    def wait(self, timeout: float) -> int:
        """Its exit code, once it has ended. Fails where it does not in time."""
        wait_for(lambda: not self.alive, f"{self.name} ends. Its log:\n{self.log[-2000:]}", timeout, interval=0.01)
        return self._child.popen.wait()

    def stop(self, timeout: float = 30.0, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.send(number)
        return self.wait(timeout)

    def memory(self) -> int:
        """Bytes of memory that it holds."""
        return int(psutil.Process(self.pid).memory_info().rss)


@contextmanager
def daemon(name: str, environment: Mapping[str, str], folder: Path) -> Iterator[Daemon]:
    """A daemon for as long as a block runs, killed at the end whatever happens."""
    process = Daemon([name], environment, folder, name)
    try:
        yield process
    finally:
        process.kill()
