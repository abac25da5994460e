"""The data folder of the embedded stack (LAMBDA_HOME, `.lambda/`): its sub-folders, its lock, free ports.

postgres/  the database cluster        kafka/  the broker's log
logs/      what the servers say        run/    the lock, pid records, the database's socket
"""

import contextlib
import datetime as dt
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local.processes import advice, wait_until


@dataclass(frozen=True)
class LockHolder:
    """Who holds a home: a pid, the command and since when (UTC)."""

    pid: int
    what: str
    since: dt.datetime


class Home:
    """A data folder. Only one command at a time may run servers in it: it holds the lock."""

    def __init__(self, path: Path) -> None:
        """Make the folder and its sub-folders where missing; only their owner may enter them.

        Raises:
            EmbeddedServerError: the folder cannot be made or written.
        """
        self.path = path.resolve()
        self.postgres = self.path / "postgres"
        self.kafka = self.path / "kafka"
        self.logs = self.path / "logs"
        self.run = self.path / "run"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.postgres, self.kafka, self.logs, self.run):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise EmbeddedServerError(
                f"The data folder {self.path} cannot be made: {error.strerror}.",
                advice(str(error), "Check who owns it, or set LAMBDA_HOME to a folder of yours."),
            ) from error

    @contextlib.contextmanager
    def lock(self, what: str) -> Iterator[None]:
        """Hold the folder for as long as the block runs; `what` is the command to name to others.

        The lock is the kernel's (flock): it is free the moment its holder dies, however it dies. Children do not
        inherit it.

        Raises:
            EmbeddedServerError: another process holds it; the message says which, what it runs and since when.
        """
        try:
            file = (self.run / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise EmbeddedServerError(
                f"The data folder {self.path} cannot be locked: {error.strerror}.",
                "It belongs to another user: start as that user, or set LAMBDA_HOME to a folder of yours.",
            ) from error
        with file:
            # Not at the first refusal: somebody may just be looking at who holds it (`holder`), for an instant.
            if not wait_until(lambda: _try_lock(file, fcntl.LOCK_EX), timeout=0.2):
                raise self._in_use()
            _write_holder(file, what)
            try:
                yield
            finally:
                file.truncate(0)

    def holder(self) -> LockHolder | None:
        """Who holds the lock now; None if nobody does."""
        try:
            with (self.run / "lock").open("r", encoding="utf-8") as file:
                return None if _try_lock(file, fcntl.LOCK_SH) else _read_holder(file)
        except OSError:
            return None

    def _in_use(self) -> EmbeddedServerError:
        with (self.run / "lock").open("r", encoding="utf-8") as file:
            holder = _read_holder(file)
        who = (
            f"pid {holder.pid} (lambda-pipeline {holder.what}, since {holder.since:%Y-%m-%d %H:%M:%S} UTC)"
            if holder
            else "another process"
        )
        return EmbeddedServerError(
            f"The data folder {self.path} is in use by {who}.",
            "Stop that one first, or set LAMBDA_HOME to another folder to run a second stack.",
        )


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now. An address that is not this machine's is for the server to refuse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def free_port(preferred: int | None = None) -> int:
    """A TCP port that nothing listens on at 127.0.0.1: the preferred one if it is free, else any."""
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As servers do: a port whose last connections are still in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EmbeddedServerError("No free TCP port on 127.0.0.1.", "Close some programs, then start again.")


def _try_lock(file: IO[str], mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(file: IO[str], what: str) -> None:
    """Past the file's buffer: where the disk is full, its name is not known, which the servers will say better."""
    holder = json.dumps({"pid": os.getpid(), "what": what, "since": dt.datetime.now(dt.UTC).isoformat()})
    file.truncate(0)
    with contextlib.suppress(OSError):
        os.write(file.fileno(), holder.encode())


def _read_holder(file: IO[str]) -> LockHolder | None:
    try:
        values = json.loads(file.read())
        return LockHolder(int(values["pid"]), str(values["what"]), dt.datetime.fromisoformat(values["since"]))
    except (ValueError, KeyError, TypeError):  # it took the lock, and has not written yet
        return None
