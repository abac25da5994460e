"""The data folder: made private, locked by one, and honest about who holds it. And who may pass through a folder."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local import access
from lambda_pipeline.local.home import Home, free_port
from lambda_pipeline.local.processes import User, wait_until

NOBODY = User("nobody", 65534, 65534)


def test_a_home_makes_its_folders_for_its_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "b")
    for folder in (home.path, home.postgres, home.kafka, home.logs, home.run):
        assert folder.stat().st_mode & 0o777 == 0o700
    Home(tmp_path / "a" / "b")


def test_a_home_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedServerError, match=r"cannot be made.*LAMBDA_HOME"):
        Home(tmp_path / "file" / "home")


def test_a_second_holder_is_told_who_holds_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.lock("demo"), pytest.raises(EmbeddedServerError) as caught, Home(tmp_path).lock("up"):
        pass
    assert f"in use by pid {os.getpid()} (lambda-pipeline demo, since 20" in caught.value.message
    assert "LAMBDA_HOME" in caught.value.next_action


def test_the_holder_can_be_asked_for_without_taking_the_lock(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.holder() is None
    with home.lock("demo"):
        holder = home.holder()
        assert holder
        assert (holder.pid, holder.what) == (os.getpid(), "demo")
        assert holder.since.utcoffset() is not None
    assert home.holder() is None
    with home.lock("up"):
        pass


def test_the_lock_is_free_once_its_holder_was_killed(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from lambda_pipeline.local.home import Home
with Home(Path({str(tmp_path)!r})).lock("demo"):
    time.sleep(120)
"""
    holder = subprocess.Popen([sys.executable, "-c", code])
    home = Home(tmp_path)
    assert wait_until(lambda: home.holder() is not None, 20)
    holder.kill()
    holder.wait()
    with home.lock("up"):
        assert home.holder()


def test_a_free_port_is_the_preferred_one_unless_it_is_taken() -> None:
    port = free_port()
    assert free_port(port) == port
    with socket.create_server(("127.0.0.1", port)):
        other = free_port(port)
        assert other not in (0, port)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.mark.parametrize(("mode", "may"), [(0o700, False), (0o701, True), (0o711, True), (0o744, False)])
def test_who_may_pass_by_the_mode_bits(tmp_path: Path, mode: int, may: bool) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x").chmod(mode)
    assert access.may_search(tmp_path / "x", NOBODY) is may


@needs_root
def test_a_grant_opens_the_way_for_one_user_and_shows_nothing(tmp_path: Path) -> None:
    deep = tmp_path / "private" / "deep"
    deep.mkdir(parents=True)
    for folder in (deep, deep.parent):
        folder.chmod(0o700)
    (deep / "file").write_text("x")
    (deep / "file").chmod(0o644)
    assert deep.parent in access.grant_search(deep / "file", NOBODY)
    assert access.grant_search(deep / "file", NOBODY) == []

    def as_user(uid: int, *command: str) -> int:
        return subprocess.run(
            command, user=uid, group=uid, extra_groups=[], capture_output=True, check=False, cwd="/"
        ).returncode

    assert as_user(NOBODY.uid, "cat", str(deep / "file")) == 0
    assert as_user(NOBODY.uid, "ls", str(deep)) != 0
    assert as_user(12345, "cat", str(deep / "file")) != 0
    assert deep.stat().st_mode & 0o007 == 0


@needs_root
def test_a_grant_gives_the_group_nothing(tmp_path: Path) -> None:
    """The mask is widened for our entry; the group's own must not come through with it."""
    folder = tmp_path / "x"
    folder.mkdir()
    os.chown(folder, 0, 4321)
    folder.chmod(0o740)
    access.grant_search(folder / "y", NOBODY)
    assert access.may_search(folder, NOBODY)
    assert not access.may_search(folder, User("other", 4321, 4321))


@needs_root
def test_without_access_control_lists_the_search_bit_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    folder = tmp_path / "x"
    folder.mkdir(mode=0o700)
    access.grant_search(folder / "y", NOBODY)
    assert folder.stat().st_mode & 0o777 == 0o701


def test_making_readable_follows_the_owner_s_bits(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program, text = tmp_path / "bin" / "program", tmp_path / "text"
    program.write_text("x")
    text.write_text("x")
    for path, mode in ((program, 0o700), (text, 0o600), (tmp_path / "bin", 0o700), (tmp_path, 0o700)):
        path.chmod(mode)
    assert access.make_readable(tmp_path)
    assert [path.stat().st_mode & 0o777 for path in (program, text, tmp_path / "bin")] == [0o755, 0o644, 0o755]
    assert not access.make_readable(tmp_path)
