"""Children are stopped with all that descends from them, end with us, and are never mistaken for others."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local import processes
from lambda_pipeline.local.processes import Child, PidRecord, spawn, stop, survivors, wait_until

SLEEPER = "import time; time.sleep(120)"
IGNORER = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(120)
"""
# A parent whose child leaves the session; both say their pid.
FAMILY = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(120)
"""


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def python(code: str, folder: Path, **more: object) -> Child:
    return spawn("child", [sys.executable, "-c", code], folder / "child.log", **more)  # type: ignore[arg-type]


def pids_in(log: Path, count: int) -> list[int]:
    """The pids that a child printed, once it has."""

    def printed() -> list[int]:
        return [int(word) for word in log.read_text().split()] if log.exists() else []

    assert wait_until(lambda: len(printed()) == count, 20)
    return printed()


def test_output_is_appended_to_the_log(tmp_path: Path) -> None:
    for word in ("one", "two"):
        child = python(f"print('{word}')", tmp_path)
        assert wait_until(lambda child=child: not child.alive, 20)  # type: ignore[misc]
        stop(child)
    assert (tmp_path / "child.log").read_text().split() == ["one", "two"]


def test_a_log_that_has_grown_is_rotated_at_the_start(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "x.log"
    processes.rotate(log)
    log.write_text("x" * 20)
    processes.rotate(log, max_bytes=20)
    assert log.exists()
    processes.rotate(log, max_bytes=19)
    assert not log.exists()
    assert (tmp_path / "deep" / "x.log.1").read_text() == "x" * 20


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert processes.log_tail(log) == "(no log)"
    log.write_bytes(b"")
    assert processes.log_tail(log) == "(the log is empty)"
    log.write_bytes(b"\xff" * 100_000 + b"\n" + b"".join(b"line %d\n" % i for i in range(30)))
    assert processes.log_tail(log, 2) == "line 28\nline 29"


def test_advice_knows_a_full_disk() -> None:
    assert "disk is full" in processes.advice("FATAL: could not write: No space left on device", "x")
    assert processes.advice("FATAL: whatever", "look there") == "look there"


def test_a_program_that_does_not_exist_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"thing cannot be started: .*no/such"):
        spawn("thing", ["/no/such/program"], tmp_path / "x.log")


def test_spawning_from_another_thread_is_refused(tmp_path: Path) -> None:
    caught: list[Exception] = []

    def attempt() -> None:
        try:
            python("pass", tmp_path)
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_a_child_leads_its_own_session(tmp_path: Path) -> None:
    child = python(SLEEPER, tmp_path)
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        stop(child)
    assert gone(child.pid)


def test_stop_lets_a_child_end_in_order(tmp_path: Path) -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *a: (print("bye", flush=True), sys.exit(0)))
print("ready", flush=True)
time.sleep(120)
"""
    child = python(code, tmp_path)
    assert wait_until(lambda: "ready" in (tmp_path / "child.log").read_text(), 20)
    stop(child, grace=20)
    assert "bye" in (tmp_path / "child.log").read_text()


def test_stop_kills_what_does_not_end_in_time(tmp_path: Path) -> None:
    child = python(IGNORER, tmp_path)
    assert wait_until(lambda: "ready" in (tmp_path / "child.log").read_text(), 20)
    stop(child, grace=0.1)
    assert not child.alive
    assert gone(child.pid)


@pytest.mark.parametrize("end", [stop, processes.kill])
def test_grandchildren_end_too_also_in_another_session(tmp_path: Path, end: object) -> None:
    child = python(FAMILY, tmp_path)
    pids = pids_in(tmp_path / "child.log", 2)
    assert {process.pid for process in survivors(child.record)} == set(pids)
    end(child)  # type: ignore[operator]
    assert all(gone(pid) for pid in pids)


def test_grandchildren_end_when_their_parent_was_killed_before(tmp_path: Path) -> None:
    child = python(FAMILY, tmp_path)
    pids = pids_in(tmp_path / "child.log", 2)
    os.kill(child.pid, signal.SIGKILL)
    assert wait_until(lambda: not child.alive, 20)
    stop(child)
    assert all(gone(pid) for pid in pids)


def test_looking_whether_a_child_lives_does_not_give_its_number_away(tmp_path: Path) -> None:
    child = python("pass", tmp_path)
    assert wait_until(lambda: not child.alive, 20)
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    stop(child)
    assert not psutil.pid_exists(child.pid)


def run_parent(folder: Path, child_code: str) -> tuple["subprocess.Popen[bytes]", Path]:
    """A process that spawns a child with a record, then waits: to be killed."""
    record = folder / "child.json"
    code = f"""
import sys, time
from pathlib import Path
from lambda_pipeline.local.processes import spawn
spawn("child", [sys.executable, "-c", {child_code!r}], Path({str(folder / "child.log")!r}),
      record_file=Path({str(record)!r}))
time.sleep(120)
"""
    return subprocess.Popen([sys.executable, "-c", code]), record


def test_the_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent, record_file = run_parent(tmp_path, SLEEPER)
    assert wait_until(record_file.exists, 20)
    record = processes.read_record(record_file)
    assert record
    assert survivors(record)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: gone(record.pid), 10)


def test_the_next_start_finds_the_grandchildren_of_a_killed_parent(tmp_path: Path) -> None:
    parent, record_file = run_parent(tmp_path, FAMILY)
    child, grandchild = pids_in(tmp_path / "child.log", 2)
    assert wait_until(record_file.exists, 20)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: gone(child), 10)
    assert not gone(grandchild)
    assert processes.stop_leftovers(record_file) == [grandchild]
    assert gone(grandchild)
    assert not record_file.exists()
    assert processes.stop_leftovers(record_file) == []


def test_a_recycled_pid_is_left_alone(tmp_path: Path) -> None:
    """A record that names our own pid and start, with a token that we do not carry: not ours to end."""
    me = psutil.Process()
    record_file = tmp_path / "x.json"
    processes.write_record(record_file, PidRecord(me.pid, me.create_time(), "x", "0" * 32))
    assert processes.stop_leftovers(record_file) == []
    assert not record_file.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"pid": "x"}), "\x00"])
def test_a_damaged_record_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    assert processes.read_record(tmp_path / "x.json") is None
    assert processes.stop_leftovers(tmp_path / "x.json") == []
