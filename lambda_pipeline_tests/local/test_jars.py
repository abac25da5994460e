"""The jars: what is locked, what is used, and what is refused. Downloads come from a fake in the network's place."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local import jars
from lambda_pipeline.local.jars import Jar, ensure_jars, read_lock

ONE = Jar("org.example:one:1.0", hashlib.sha256(b"one").hexdigest(), 3)
TWO = Jar("org.example.deep:two_2.13:2.0", hashlib.sha256(b"twotwo").hexdigest(), 6)
CONTENT = {ONE.coordinate: b"one", TWO.coordinate: b"twotwo"}


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What each coordinate downloads to: bytes, or an exception to raise. Counts the downloads."""
    answers: dict[str, object] = {**CONTENT, "downloads": 0}

    def fetch(jar: Jar, folder: Path, count: jars.Advance) -> Path:
        answers["downloads"] = int(str(answers["downloads"])) + 1
        answer = answers[jar.coordinate]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, bytes)
        path = jar.path_in(folder)
        path.parent.mkdir(parents=True)
        path.write_bytes(answer)
        count(len(answer))
        return path

    monkeypatch.setattr(jars, "_fetch", fetch)
    monkeypatch.setattr(jars.time, "sleep", lambda _seconds: None)
    return answers


def test_the_lock_names_exact_versions_with_checksums_and_no_host() -> None:
    locked = read_lock()
    coordinates = [jar.coordinate for jar in locked]
    assert jars.KAFKA in coordinates
    assert jars.LOG_BINDING in coordinates
    assert "org.apache.kafka:kafka-clients:" + jars.KAFKA.rpartition(":")[2] in coordinates
    assert len({coordinate.rpartition(":")[0] for coordinate in coordinates}) == len(coordinates)
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) and jar.bytes > 0 for jar in locked)
    assert "http" not in jars.LOCK_FILE.read_text()


def test_missing_jars_are_downloaded_once_and_then_used_offline(tmp_path: Path, network: dict[str, object]) -> None:
    paths = ensure_jars(tmp_path, progress=False, jars=[ONE, TWO])
    assert [path.read_bytes() for path in paths] == [b"one", b"twotwo"]
    assert paths[1] == tmp_path / "jars/org/example/deep/two_2.13/2.0/two_2.13-2.0.jar"
    network[ONE.coordinate] = network[TWO.coordinate] = requests.ConnectionError("offline")
    assert ensure_jars(tmp_path, progress=False, jars=[ONE, TWO]) == paths
    assert network["downloads"] == 2


def test_only_what_is_missing_is_downloaded(tmp_path: Path, network: dict[str, object]) -> None:
    ensure_jars(tmp_path, progress=False, jars=[ONE])
    ensure_jars(tmp_path, progress=False, jars=[ONE, TWO])
    assert network["downloads"] == 2


@pytest.mark.parametrize("content", [b"bad", b"on", b""])
def test_a_tampered_jar_in_the_cache_is_refused_by_name_and_removed(
    tmp_path: Path, network: dict[str, object], content: bytes
) -> None:
    path = ensure_jars(tmp_path, progress=False, jars=[ONE])[0]
    path.write_bytes(content)
    with pytest.raises(EmbeddedServerError) as caught:
        ensure_jars(tmp_path, progress=False, jars=[ONE])
    message = caught.value.message
    assert "one-1.0.jar" in message
    assert ONE.coordinate in message
    assert ONE.sha256 in message
    assert hashlib.sha256(content).hexdigest() in message
    assert not path.exists()
    assert ensure_jars(tmp_path, progress=False, jars=[ONE]) == [path]


def test_a_download_that_does_not_match_is_refused_and_never_kept(tmp_path: Path, network: dict[str, object]) -> None:
    network[TWO.coordinate] = b"twotwo and more"
    with pytest.raises(EmbeddedServerError, match=r"two_2\.13-2\.0\.jar"):
        ensure_jars(tmp_path, progress=False, jars=[ONE, TWO])
    assert not TWO.path_in(tmp_path / "jars").exists()
    assert not list((tmp_path / "jars").glob(".partial-*"))


def test_without_a_network_the_error_says_what_is_missing_and_what_to_do(
    tmp_path: Path, network: dict[str, object]
) -> None:
    network[ONE.coordinate] = requests.ConnectionError("HTTPSConnectionPool(host=…): Max retries exceeded")
    with pytest.raises(EmbeddedServerError) as caught:
        ensure_jars(tmp_path, progress=False, jars=[ONE])
    assert "org.example:one:1.0" in caught.value.message
    assert "cannot be reached" in caught.value.message
    assert "KAFKA_BOOTSTRAP_SERVERS" in caught.value.next_action
    assert network["downloads"] == 3


def test_what_an_interrupted_download_left_is_cleared_and_never_counts(
    tmp_path: Path, network: dict[str, object]
) -> None:
    left = tmp_path / "jars" / ".partial-killed" / "org"
    left.mkdir(parents=True)
    ensure_jars(tmp_path, progress=False, jars=[ONE])
    assert not left.parent.exists()


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path: Path, network: dict[str, object]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedServerError, match=r"cannot be stored.*LAMBDA_CACHE"):
        ensure_jars(tmp_path / "file", progress=False, jars=[ONE])


def test_a_damaged_lock_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("{")
    with pytest.raises(EmbeddedServerError, match="cannot be read"):
        read_lock(tmp_path / "lock")


def test_several_processes_at_once_download_each_jar_once(tmp_path: Path) -> None:
    """Four real processes; each download is a line in a shared file."""
    code = f"""
from pathlib import Path
from lambda_pipeline.local import jars
def fetch(jar, folder, count):
    with open({str(tmp_path / "downloads")!r}, "a") as log:
        log.write(jar.coordinate + "\\n")
    path = jar.path_in(folder)
    path.parent.mkdir(parents=True)
    path.write_bytes({CONTENT!r}[jar.coordinate])
    return path
jars._fetch = fetch
wanted = [jars.Jar(**values) for values in {[vars(ONE), vars(TWO)]!r}]
assert len(jars.ensure_jars(Path({str(tmp_path)!r}), progress=False, jars=wanted)) == 2
"""
    runs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [run.wait(60) for run in runs] == [0, 0, 0, 0]
    assert sorted((tmp_path / "downloads").read_text().split()) == sorted(CONTENT)
