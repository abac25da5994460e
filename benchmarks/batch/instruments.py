"""How long swaps hold the publish lock, and what a process and its PostgreSQL backend take."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lambda_pipeline.batch import publish

_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def lock_times(engine: sa.Engine) -> Iterator[list[float]]:
    """Milliseconds of each swap of this process from when it has the publish lock until it is committed."""
    times: list[float] = []
    taken = [0.0]
    real: Callable[..., int | None] = publish.swap

    def after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "pg_advisory_xact_lock(" in statement:
            taken[0] = time.perf_counter()

    def timed(*arguments: Any) -> int | None:
        moved = real(*arguments)
        times.append((time.perf_counter() - taken[0]) * 1000)
        return moved

    sa.event.listen(engine, "after_cursor_execute", after)
    publish.swap = timed  # type: ignore[assignment]
    try:
        yield times
    finally:
        publish.swap = real
        sa.event.remove(engine, "after_cursor_execute", after)


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_mib(pid: int | None = None) -> float:
    """The highest resident memory that a process has had, in MiB (VmHWM)."""
    return _status(pid, "VmHWM")


@contextmanager
def private_peak(pid: int) -> Iterator[list[float]]:
    """The highest memory of a process without what it shares, in MiB: a backend's without the buffer pool."""
    found, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            found[0] = max(found[0], _status(pid, "RssAnon"))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def _status(pid: int | None, field: str) -> float:
    try:
        for line in Path(f"/proc/{pid or 'self'}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0
