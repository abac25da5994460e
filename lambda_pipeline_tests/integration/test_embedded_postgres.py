"""The embedded PostgreSQL as it will be met: first start, restart, crash, long paths, root and not."""

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local import access
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.local.processes import User, wait_until

pytestmark = pytest.mark.integration
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@contextlib.contextmanager
def running(path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(Home(path))
    try:
        server.start()
        yield server
    finally:
        server.stop(force=True)


def ask(server: EmbeddedPostgres, sql: str) -> object:
    with psycopg.connect(server.url()) as connection:
        row = connection.execute(sql.encode()).fetchone()
        return row[0] if row else None


def change(server: EmbeddedPostgres, sql: str) -> None:
    with psycopg.connect(server.url()) as connection:
        connection.execute(sql.encode())


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_restart_keeps_the_data_and_leaves_no_process(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert server.started_here
        change(server, "CREATE TABLE t AS SELECT 42 AS x")
        members = server._members()
        assert len(members) > 3
    assert not server.is_running()
    assert all(gone(process.pid) for process in members)
    with running(tmp_path) as server:
        assert ask(server, "SELECT x FROM t") == 42


def test_it_is_what_the_pipeline_expects(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert str(ask(server, "SHOW server_version")).startswith("18.")
        assert ask(server, "SHOW server_encoding") == "UTF8"
        assert ask(server, "SHOW timezone") == "UTC"
        assert ask(server, "SHOW fsync") == "on"
        assert ask(server, "SHOW listen_addresses") == ""
        assert ask(server, "SHOW data_checksums") == "on"
        assert ask(server, "SELECT upper('é')") == "É"
        assert server.socket_folder.stat().st_mode & 0o777 == 0o700


def test_starting_twice_uses_the_server_that_runs(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        second = EmbeddedPostgres(Home(tmp_path))
        second.start()
        assert not second.started_here
        assert second.pid == server.pid
        second.stop()
        assert server.is_running()
        second.stop(force=True)
        assert not server.is_running()


def test_a_killed_server_is_recovered(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        change(server, "CREATE TABLE t AS SELECT 42 AS x")
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        server.start()
        assert ask(server, "SELECT x FROM t") == 42


def test_a_backend_that_a_killed_server_left_busy_does_not_stop_the_next(tmp_path: Path) -> None:
    """A backend that is frozen does not notice that its postmaster is gone, and holds on to the shared memory."""
    with running(tmp_path) as server:
        connection = psycopg.connect(server.url())
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        server.start()
        assert ask(server, "SELECT 1") == 1
        assert gone(backend)
        connection.close()


def test_a_stale_pid_file_that_names_a_stranger_is_no_server(tmp_path: Path) -> None:
    """After a reboot, the number in postmaster.pid may be anybody's: here our own."""
    with running(tmp_path) as server:
        files = [server.data / "postmaster.pid", server.socket_folder / ".s.PGSQL.5432.lock"]
        texts = [file.read_text() for file in files]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text.replace(text.splitlines()[0], str(os.getpid()), 1))
    assert not server.is_running()
    assert server.pid is None
    with running(tmp_path) as server:
        assert ask(server, "SELECT 1") == 1


def test_a_server_that_hangs_is_ended_and_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambda_pipeline.local.postgres.HANG_SECONDS", 1.0)
    with running(tmp_path) as server:
        change(server, "CREATE TABLE t AS SELECT 42 AS x")
        frozen = server.pid
        assert frozen
        os.kill(frozen, signal.SIGSTOP)
        second = EmbeddedPostgres(Home(tmp_path))
        second.start()
        try:
            assert second.pid != frozen
            assert ask(second, "SELECT x FROM t") == 42
        finally:
            second.stop()


def test_it_shuts_down_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.postgres import EmbeddedPostgres
EmbeddedPostgres(Home(Path({str(tmp_path)!r}))).start()
time.sleep(120)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    server = EmbeddedPostgres(Home(tmp_path))
    assert wait_until(server.is_running, 30)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not server._members(), 20)
    assert "database system is shut down" in server.log_file.read_text()


def test_a_first_start_that_was_killed_leaves_nothing_half_made(tmp_path: Path) -> None:
    half = Home(tmp_path).postgres / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with running(tmp_path) as server:
        assert ask(server, "SELECT 1") == 1
    assert not half.exists()


@pytest.mark.parametrize("name", ["x" * 120, "a,b", "with space and ünïcode %41 ?&#'"])
def test_long_and_odd_paths(tmp_path: Path, name: str) -> None:
    with running(tmp_path / name) as server:
        assert ask(server, "SELECT 1") == 1
        folder = server.socket_folder
        with psycopg.connect(server.url("postgres", "postgres")) as connection:
            assert connection.info.host == str(folder)
    if len(name) > 100 or "," in name:
        assert folder.parent == Path(tempfile.gettempdir())
        assert not folder.exists()


def test_another_temporary_folder_does_not_hide_a_running_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / ("x" * 120)) as server:
        monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
        assert EmbeddedPostgres(server.home).is_running()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = EmbeddedPostgres(Home(tmp_path), {"shared_buffers": "nonsense"})
    with pytest.raises(EmbeddedServerError, match=r'(?s)did not start.*postgres\.log.*"nonsense"'):
        server.start()
    assert server._members() == []


def test_data_of_another_major_version_is_refused(tmp_path: Path) -> None:
    server = EmbeddedPostgres(Home(tmp_path))
    server.data.mkdir()
    (server.data / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedServerError, match=r"made by PostgreSQL 16.*LAMBDA_HOME"):
        server.start()


@needs_root
def test_as_root_it_runs_as_another_user_under_a_home_that_only_root_may_enter(tmp_path: Path) -> None:
    private = tmp_path / "root"
    private.mkdir()
    private.chmod(0o700)
    with running(private / "project" / ".lambda") as server:
        assert psutil.Process(server.pid).username() == "nobody"
        assert ask(server, "SELECT 1") == 1
    assert private.stat().st_mode & 0o007 == 0
    stranger = subprocess.run(
        ["ls", private / "project"], user=12345, group=12345, extra_groups=[], capture_output=True, check=False, cwd="/"
    )
    nobody = subprocess.run(
        ["ls", private], user="nobody", group=65534, extra_groups=[], capture_output=True, check=False, cwd="/"
    )
    assert stranger.returncode != 0
    assert nobody.returncode != 0


@pytest.fixture
def python_for_nobody() -> Iterator[str]:
    """Our Python, which `nobody` may run for the length of a test even if it lives below /root."""
    user = User("nobody", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    ancestors = {
        ancestor
        for place in (sys.executable, Path(sys.executable).resolve(), sys.base_prefix, sys.prefix, __file__)
        for ancestor in Path(place).absolute().parents
    }
    closed = {folder: folder.stat().st_mode & 0o7777 for folder in ancestors if not access.may_search(folder, user)}
    if any("system.posix_acl_access" in os.listxattr(folder) for folder in closed):
        pytest.skip("the way to Python has access control lists of its own, which a test should not touch")
    for folder in closed:
        access.grant_search(folder / "x", user)
    yield sys.executable
    for folder, mode in closed.items():
        with contextlib.suppress(OSError):
            os.removexattr(folder, "system.posix_acl_access")
        folder.chmod(mode)


@needs_root
def test_as_an_ordinary_user(python_for_nobody: str) -> None:
    """A Python of `nobody` with a home of its own, then root on the same folder: it goes on as its owner."""
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        code = f"""
from pathlib import Path
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.postgres import EmbeddedPostgres
import psycopg
home = Home(Path({str(folder / "lambda")!r}))
server = EmbeddedPostgres(home)
with home.lock("test"):
    server.start()
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE t AS SELECT 42 AS x")
    server.stop()
"""
        subprocess.run(
            [python_for_nobody, "-c", code],
            check=True,
            cwd=folder,
            env={
                **os.environ,
                "HOME": name,
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
        )
        with running(folder / "lambda") as server:
            assert psutil.Process(server.pid).username() == "nobody"
            assert ask(server, "SELECT x FROM t") == 42
