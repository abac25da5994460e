"""A day's archive is whole or not there, whatever happens while it is written, and what is damaged is found out."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lambda_pipeline.archive import write
from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import Manifest
from lambda_pipeline.archive.store import Stored
from lambda_pipeline.batch.archive import disagreement
from lambda_pipeline.errors import (
    ArchiveContentionError,
    ArchiveDamagedError,
    ArchiveMismatchError,
)
from lambda_pipeline_tests.integration.archiving.days import (
    NOW,
    archived,
    change,
    leftovers,
    raw_rows,
    rows_of,
    stale,
    visible,
)
from lambda_pipeline_tests.integration.object_store import Where
from lambda_pipeline_tests.integration.observations import (
    DAY,
    MemoryLog,
    seen,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


CRASH = """
import os, sys
from datetime import date
from lambda_pipeline.archive import write
from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.place import parse_place, S3Access
from lambda_pipeline.storage.engine import make_engine

url, place, endpoint = sys.argv[1:]
access = S3Access(endpoint, None, "a-key", "a-secret") if endpoint else None
write.replace_manifest = lambda *_: os._exit(9)
Archive(make_engine(url, "test"), parse_place(place), access).write(date(2025, 6, 2), "crashed")
"""


def test_a_crash_between_file_and_manifest_leaves_the_day_as_it_was(
    database: Database, log: MemoryLog, where: Where, archive: Archive
) -> None:
    before = archived(archive)
    log.append(seen(1, "Krukut", aqi=500))
    log.store()
    command = [sys.executable, "-c", CRASH, database.url(), str(where.place), where.access.endpoint_url or ""]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 9, done.stderr
    found = visible(archive)
    assert found is not None
    assert (found.path, found.version) == (before.path, 1)
    assert len(rows_of(archive, found)) == 96
    (orphan,) = leftovers(database)
    assert sorted(where.paths()) == sorted([before.path, orphan])
    assert stale(database) == [(DAY, 97)]
    after = archived(archive)
    assert archive.remove_leftovers(NOW) == 2
    assert where.paths() == [after.path]
    assert len(rows_of(archive, after)) == 97


def test_a_table_that_lost_rows_does_not_replace_a_full_file(
    database: Database, log: MemoryLog, where: Where, archive: Archive
) -> None:
    before = archived(archive)
    change(database, "delete from raw_data where log_offset < 10")
    with pytest.raises(ArchiveMismatchError, match="raw_data holds 86 rows of 2025-06-02, and raw_hours counted 96"):
        archive.write(DAY, "a run")
    assert where.paths() == [before.path]
    assert visible(archive).path == before.path  # type: ignore[union-attr]


def test_two_runs_over_one_day_leave_one_archive_and_the_later_one_says_so(
    database: Database, log: MemoryLog, in_a_folder: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Archive(database.writer, in_a_folder.store.place)
    real = in_a_folder.store.write

    def meanwhile(path: str, fill: Callable[..., None]) -> Stored:
        archived(other)
        return real(path, fill)

    monkeypatch.setattr(in_a_folder.store, "write", meanwhile)
    with pytest.raises(ArchiveContentionError, match="another run archived 2025-06-02 meanwhile"):
        in_a_folder.write(DAY, "the later one")
    found = visible(in_a_folder)
    assert found is not None
    assert (found.version, found.run_id) == (1, "a run")
    assert len(leftovers(database)) == 1
    with pytest.raises(ArchiveContentionError):  # one that has an archive already
        in_a_folder.write(DAY, "the later one")
    assert visible(in_a_folder).version == 2  # type: ignore[union-attr]


def test_a_file_that_was_removed_as_a_leftover_before_it_was_named_is_never_visible(
    database: Database, log: MemoryLog, where: Where, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = archive.store.examine

    def late(path: str) -> Stored:
        found = real(path)
        assert archive.remove_leftovers(NOW) == 1
        return found

    with monkeypatch.context() as patch:
        patch.setattr(archive.store, "examine", late)
        patch.setattr(write, "verify", lambda store, new: store.examine(new.path))
        with pytest.raises(ArchiveContentionError):
            archive.write(DAY, "a run that took days")
    assert (visible(archive), where.paths(), leftovers(database)) == (None, [], [])


def test_a_leftover_that_cannot_be_removed_waits(
    database: Database, log: MemoryLog, in_a_folder: Archive, tmp_path: Path
) -> None:
    before = archived(in_a_folder)
    archived(in_a_folder)
    folder = tmp_path / "archive" / before.path
    folder.unlink()
    folder.mkdir()  # what no file can be removed from
    assert (in_a_folder.remove_leftovers(NOW), leftovers(database)) == (0, [before.path])
    folder.rmdir()
    assert (in_a_folder.remove_leftovers(NOW), leftovers(database)) == (1, [])


def spoil_nothing_back(where: Where, manifest: Manifest) -> None:
    """The control: all is right."""
    where.overwrite(manifest.path, where.bytes_of(manifest.path))


def cut_short(where: Where, manifest: Manifest) -> None:
    where.overwrite(manifest.path, where.bytes_of(manifest.path)[:-100])


def lengthen(where: Where, manifest: Manifest) -> None:
    where.overwrite(manifest.path, where.bytes_of(manifest.path) + b"\0")


def flip_a_bit(where: Where, manifest: Manifest) -> None:
    content = bytearray(where.bytes_of(manifest.path))
    content[len(content) // 3] ^= 1
    where.overwrite(manifest.path, bytes(content))


def empty(where: Where, manifest: Manifest) -> None:
    where.overwrite(manifest.path, b"")


def lose(where: Where, manifest: Manifest) -> None:
    where.remove(manifest.path)


@pytest.mark.parametrize("spoil", [cut_short, lengthen, flip_a_bit, empty, lose], ids=lambda one: one.__name__)
def test_a_file_that_is_not_what_was_written_is_found_taken_out_and_written_anew(
    database: Database, log: MemoryLog, where: Where, archive: Archive, spoil: Callable[[Where, Manifest], None]
) -> None:
    manifest = archived(archive)
    assert disagreement(database.writer, archive, manifest) == ""
    spoil_nothing_back(where, manifest)
    assert disagreement(database.writer, archive, manifest) == ""
    spoil(where, manifest)
    found = disagreement(database.writer, archive, manifest)
    assert manifest.path in found
    assert visible(archive) is None
    assert stale(database) == [(DAY, 96)]
    assert rows_of(archive, archived(archive)) == raw_rows(database)
    assert stale(database) == []


@pytest.mark.parametrize("spoil", [cut_short, lengthen, empty, lose], ids=lambda one: one.__name__)
def test_a_reader_is_told_of_a_file_that_is_not_whole(
    log: MemoryLog, where: Where, archive: Archive, spoil: Callable[[Where, Manifest], None]
) -> None:
    manifest = archived(archive)
    spoil(where, manifest)
    with pytest.raises(ArchiveDamagedError) as caught:
        rows_of(archive, manifest, columns=["location"])
    assert manifest.path in caught.value.message
    assert "--asset raw_archive --all" in caught.value.next_action


def test_what_was_not_written_as_it_should_is_never_visible(
    database: Database, log: MemoryLog, where: Where, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = archive.store.write

    def spoiled(path: str, fill: Callable[..., None]) -> Stored:
        stored = real(path, fill)
        where.overwrite(path, where.bytes_of(path)[:-1] + b"?")
        return stored

    monkeypatch.setattr(archive.store, "write", spoiled)
    with pytest.raises(ArchiveDamagedError, match="with the checksum"):
        archive.write(DAY, "a run")
    assert visible(archive) is None
    assert leftovers(database) == where.paths()
