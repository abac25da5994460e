"""Child processes that are started, recognised and stopped properly.

Three things make sure that nothing is left behind:

- every child leads its own session, so that it and its children are signalled as one process group;
- the kernel signals a child when its parent dies (PR_SET_PDEATHSIG), however the parent dies;
- every child carries a random token in its environment, which all its descendants inherit. A record of it on disk lets
  the next start find what a crash left, also grandchildren that moved to another session, without ever trusting a
  process number that the system may have given to somebody else since.
"""

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from lambda_pipeline.errors import EmbeddedServerError

TOKEN_VARIABLE = "LAMBDA_PROCESS_TOKEN"  # noqa: S105  # no secret: it tells processes apart
MAX_LOG_BYTES = 10_000_000
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class User:
    """A user that a child runs as, when we are root and it should not be."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class PidRecord:
    """What is written about a child, so that a later start can recognise it."""

    pid: int
    create_time: float
    name: str
    token: str


@dataclass(frozen=True)
class Child:
    """A process that we started, with the record that identifies it and all its descendants."""

    popen: subprocess.Popen[bytes]
    record: PidRecord

    @property
    def pid(self) -> int:
        """The process number of the session's leader."""
        return self.popen.pid

    @property
    def alive(self) -> bool:
        """Whether the leader lives. Does not reap it, so that its number stays its own until `stop` or `kill`."""
        if self.popen.returncode is not None:
            return False
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
        except ChildProcessError:
            return False


def spawn(
    name: str,
    argv: Sequence[str],
    log_file: Path,
    env: Mapping[str, str] | None = None,
    *,
    user: User | None = None,
    cwd: Path | None = None,
    record_file: Path | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> Child:
    """Start `argv` in a session of its own, its output appended to `log_file`.

    `env` is the whole environment (None: ours). `death_signal` is what the kernel sends it when we die; SIGKILL leaves
    no doubt, a server that shuts down quickly and surely on another signal may name that one. With `record_file` the
    child is written down there, for `stop_leftovers`.

    The kernel ties that signal to the *thread* that forked, so a worker thread that ends would take the server with
    it: call this from the main thread only (RuntimeError otherwise).

    Raises:
        EmbeddedServerError: the program cannot be started, or the log not written.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("spawn() must be called from the main thread: the child dies with the thread that forked it")
    token = secrets.token_hex(16)
    child_env = {**(os.environ if env is None else env), TOKEN_VARIABLE: token}
    try:
        rotate(log_file)
        with log_file.open("ab") as log:
            popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=child_env,
                cwd=cwd,
                start_new_session=True,
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
                preexec_fn=_tie_to_parent(death_signal),  # noqa: PLW1509  # one system call, loaded before the fork
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedServerError(
            f"{name} cannot be started: {error}.", f"Check that {argv[0]} can be run and {log_file} be written."
        ) from error
    child = Child(popen, PidRecord(popen.pid, _create_time(popen.pid), name, token))
    if record_file is not None:
        try:
            write_record(record_file, child.record)
        except OSError as error:  # what a crash would leave of it could not be found again
            kill(child)
            raise EmbeddedServerError(
                f"{name} cannot be started: {record_file} cannot be written: {error.strerror}.",
                advice(str(error), "Check who owns the data folder."),
            ) from error
    return child


def stop(child: Child, grace: float = 10.0, stop_signal: signal.Signals = signal.SIGTERM) -> None:
    """Stop a child and everything that descends from it; return when all of it is gone.

    The leader is asked first and has `grace` seconds, because it may have to stop its own children in order. What is
    left after it is asked once more for up to two seconds, and then killed.
    """
    if child.alive:
        os.kill(child.pid, stop_signal)
        wait_until(lambda: not child.alive, grace)
    _end_all(lambda: _family(child), grace=0.0 if child.alive else 2.0)
    child.popen.poll()


def kill(child: Child) -> None:
    """Kill a child and everything that descends from it, at once. May be called from a signal handler."""
    _end_all(lambda: _family(child), grace=0.0)
    child.popen.poll()


def survivors(record: PidRecord) -> list[psutil.Process]:
    """The living processes that this record stands for: the one that was started, and all that descend from it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if _belongs(process, record):
                found.append(process)
    return found


def stop_leftovers(record_file: Path, grace: float = 5.0) -> list[int]:
    """Stop what the process written down in `record_file` left, if anything; return the pids. Removes the record."""
    record = read_record(record_file)
    if record is None:
        return []
    left = _end_all(lambda: survivors(record), grace)
    record_file.unlink(missing_ok=True)
    return left


def end_processes(processes: list[psutil.Process], grace: float, stop_signal: signal.Signals = signal.SIGTERM) -> None:
    """Signal these processes, wait up to `grace` seconds, kill what is left. psutil never signals a recycled pid."""
    alive = processes
    if alive and grace > 0:
        _signal(alive, stop_signal)
        _, alive = psutil.wait_procs(alive, timeout=grace)
    _signal(alive, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5.0)


def write_record(record_file: Path, record: PidRecord) -> None:
    """Write a record atomically."""
    record_file.parent.mkdir(parents=True, exist_ok=True)
    temporary = record_file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8")
    temporary.replace(record_file)


def read_record(record_file: Path) -> PidRecord | None:
    """Read a record; None if there is none that can be read."""
    try:
        values = json.loads(record_file.read_text(encoding="utf-8"))
        return PidRecord(int(values["pid"]), float(values["create_time"]), str(values["name"]), str(values["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.02) -> bool:
    """Poll `condition` every `interval` seconds until it holds (True) or `timeout` seconds have passed (False)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)
    return True


def rotate(log_file: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
    """Move a log that has grown beyond `max_bytes` to `NAME.1`, replacing an older one. Makes the folder."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    if log_file.exists() and log_file.stat().st_size > max_bytes:
        log_file.replace(log_file.with_name(log_file.name + ".1"))


def log_tail(log_file: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        with log_file.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 16_384))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


_DISK_FULL = "The disk is full: free some space (`df -h` shows where), then start again."
_LEAST_SPACE = 1 << 20  # bytes; with less a server cannot even say that the disk is full
_ADVICE = (
    ("No space left on device", _DISK_FULL),
    ("Disk quota exceeded", "The disk quota is used up: free some space, then start again."),
    ("Read-only file system", "The data folder is on a read-only file system: set LAMBDA_HOME to another folder."),
    ("Cannot allocate memory", "The machine is out of memory: close something, then start again."),
    ("insufficient memory", "The machine is out of memory: close something, then start again."),
    ("Too many open files", "Too many files are open: raise the limit (`ulimit -n 4096`), then start again."),
    ("Address already in use", "Another program took the port in the meantime: start again, another will be chosen."),
    ("wrong ownership", "The data folder belongs to another user: start as that user, or set LAMBDA_HOME elsewhere."),
    ("Permission denied", "The data folder is not accessible: check who owns it and its parents."),
)


def advice(tail: str, otherwise: str, folder: Path | None = None) -> str:
    """What to do about a server whose log ends like this, and whose data and log are in `folder`."""
    with contextlib.suppress(OSError):
        if folder is not None and shutil.disk_usage(folder).free < _LEAST_SPACE:
            return _DISK_FULL
    return next((what for sign, what in _ADVICE if sign in tail), otherwise)


def _belongs(process: psutil.Process, record: PidRecord) -> bool:
    try:
        return process.environ().get(TOKEN_VARIABLE) == record.token
    except psutil.AccessDenied:
        # Another user's process hides its environment; the pid together with its start says the same of the leader.
        same = process.pid == record.pid and abs(process.create_time() - record.create_time) < 0.05
        return same and process.status() != psutil.STATUS_ZOMBIE


def _family(child: Child) -> list[psutil.Process]:
    """All that descends from a child: what carries its token, and, as long as it is not reaped, its process group."""
    family = {process.pid: process for process in survivors(child.record)}
    if child.popen.returncode is None:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if os.getpgid(process.pid) == child.pid and process.status() != psutil.STATUS_ZOMBIE:
                    family[process.pid] = process
    return list(family.values())


def _end_all(find: Callable[[], list[psutil.Process]], grace: float) -> list[int]:
    """End all that `find` finds; what was forked while we looked is found by the next look."""
    ended: list[int] = []
    for _ in range(5):
        left = find()
        if not left:
            break
        end_processes(left, grace)
        ended += [process.pid for process in left]
        grace = 0.0
    return ended


def _signal(processes: Iterable[psutil.Process], which: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(which)


def _create_time(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:  # gone already; nothing will match it
        return 0.0


def _tie_to_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """What the child runs between fork and exec. Loaded before the fork: after it, as little as possible may happen."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def tie() -> None:
        # What we ignore, or what whoever started us in the background ignores, a child must still hear.
        for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(ending, signal.SIG_DFL)
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    return tie
