"""What makes a day's archive stale, and a store that is not there."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import SCHEMA_VERSION, find_manifest
from lambda_pipeline.archive.place import Place, S3Access
from lambda_pipeline.archive.store import Stored
from lambda_pipeline.errors import (
    ArchiveUnavailableError,
    SchemaError,
)
from lambda_pipeline.local.home import free_port
from lambda_pipeline.storage.engine import transaction
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
    DAY_AFTER,
    HOUR,
    MemoryLog,
    seen,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


# ---------------------------------------------------------------- stale, and written anew


def test_a_late_event_makes_the_day_stale_and_the_next_writing_replaces_it(
    database: Database, log: MemoryLog, where: Where, archive: Archive
) -> None:
    assert stale(database) == [(DAY, 96)]
    before = archived(archive)
    assert stale(database) == []
    log.append(seen(1, "Krukut", aqi=500), seen(0, "Krukut", aqi=1), seen(0, hour=HOUR + timedelta(days=1)))
    log.store()
    assert stale(database) == [(DAY, 97)], "the second one was known, and the third is of another day"
    assert stale(database, DAY, DAY_AFTER + timedelta(days=1)) == [(DAY, 97), (DAY_AFTER, 1)]
    assert visible(archive).version == before.version == 1  # type: ignore[union-attr]
    after = archived(archive)
    assert (after.version, after.rows, stale(database)) == (2, 97, [])
    assert rows_of(archive, after) == raw_rows(database)
    assert len(rows_of(archive, before)) == 96, "whoever reads the old file may finish"
    assert sorted(where.paths()) == sorted([before.path, after.path])
    assert leftovers(database) == [before.path]
    assert archive.remove_leftovers() == 0
    assert archive.remove_leftovers(NOW) == 1
    assert (where.paths(), leftovers(database)) == ([after.path], [])


def test_what_is_stored_while_a_day_is_written_is_not_in_it_and_makes_it_stale(
    database: Database, log: MemoryLog, in_a_folder: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = in_a_folder.store.write

    def meanwhile(path: str, fill: Callable[..., None]) -> Stored:
        log.append(seen(1, "Cinere", aqi=7))
        assert log.store() == 1
        return real(path, fill)

    monkeypatch.setattr(in_a_folder.store, "write", meanwhile)
    manifest = archived(in_a_folder)
    assert (manifest.rows, manifest.covered[log.partitions[0].id]) == (96, 96)
    assert len(rows_of(in_a_folder, manifest)) == 96
    assert stale(database) == [(DAY, 97)]


def test_a_newer_frontier_without_a_row_of_the_day_leaves_it_fresh(
    database: Database, log: MemoryLog, in_a_folder: Archive
) -> None:
    archived(in_a_folder)
    log.append(seen(0, hour=HOUR + timedelta(days=3)), b"{")
    log.store()
    assert stale(database) == []


def test_a_file_of_an_older_schema_is_written_anew_and_one_of_a_newer_is_not_misread(
    database: Database, log: MemoryLog, in_a_folder: Archive
) -> None:
    manifest = archived(in_a_folder)
    change(database, "update raw_archives set schema_version = schema_version - 1")
    assert stale(database) == [(DAY, 96)]
    with pytest.raises(SchemaError, match=f"is of schema {SCHEMA_VERSION + 1}, this version reads up to"):
        rows_of(in_a_folder, replace(manifest, schema_version=SCHEMA_VERSION + 1))


# ---------------------------------------------------------------- the store


@pytest.fixture
def nobody() -> str:
    """The address of a store that is not there."""
    return f"http://127.0.0.1:{free_port()}"


def test_a_store_that_is_away_is_said_so_and_changes_nothing(database: Database, log: MemoryLog, nobody: str) -> None:
    archive = Archive(database.writer, Place("s3", "bucket/city"), S3Access(nobody, None, "the-key", "the-secret"))
    with pytest.raises(ArchiveUnavailableError) as caught:
        archive.write(DAY, "a run")
    assert "the archive s3://bucket/city: raw_data/2025/2025-06-02-" in caught.value.message
    assert "LAMBDA_ARCHIVE_URL" in caught.value.next_action
    assert "the-" not in str(caught.value)
    assert visible(archive) is None


def test_a_bucket_that_is_not_there_is_said_so(database: Database, log: MemoryLog, s3: S3Access) -> None:
    archive = Archive(database.writer, Place("s3", "no-such-bucket"), s3)
    with pytest.raises(ArchiveUnavailableError, match=r"no-such-bucket: raw_data/2025/.* cannot be written: "):
        archive.write(DAY, "a run")


def test_a_folder_that_cannot_be_one_is_said_so(database: Database, log: MemoryLog, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    archive = Archive(database.writer, Place("folder", str(tmp_path / "file")))
    with pytest.raises(ArchiveUnavailableError, match=r"file: raw_data/2025/.* cannot be written: "):
        archive.write(DAY, "a run")


def test_the_manifest_is_the_same_for_whoever_asks(database: Database, log: MemoryLog, in_a_folder: Archive) -> None:
    manifest = archived(in_a_folder)
    with transaction(database.reader, read_only=True) as connection:
        found = find_manifest(connection, DAY)
    assert found is not None
    assert (found.path, found.covered, found.checksum) == (manifest.path, manifest.covered, manifest.checksum)
    assert found.verified_at is not None
