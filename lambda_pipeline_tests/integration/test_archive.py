"""The archive on a real PostgreSQL, in a folder and in an object store: exact, whole or not there, and found out."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from lambda_pipeline.archive import write
from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import SCHEMA_VERSION, Manifest, find_manifest, stale_archives
from lambda_pipeline.archive.place import Place, S3Access
from lambda_pipeline.archive.schema import COLUMNS, SCHEMA
from lambda_pipeline.archive.store import Stored
from lambda_pipeline.batch.archive import disagreement
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.errors import (
    ArchiveContentionError,
    ArchiveDamagedError,
    ArchiveMismatchError,
    ArchiveUnavailableError,
    SchemaError,
)
from lambda_pipeline.local.home import free_port
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.integration.object_store import Where, in_folder
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
    HOUR,
    NEXT_HOUR,
    MemoryLog,
    seen,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

PLACES = ("Cinere", "GBK, Gelora", "Gunung", "Krukut")
NOW = timedelta()


@pytest.fixture
def archive(database: Database, where: Where) -> Archive:
    return Archive(database.writer, where.place, where.access)


@pytest.fixture
def in_a_folder(database: Database, tmp_path: Path) -> Archive:
    """For what does not depend on where the files lie."""
    return Archive(database.writer, in_folder(tmp_path).place)


@pytest.fixture
def log(database: Database) -> MemoryLog:
    """Two hours of four places in raw_data: with all measures, without any, and with everything between."""
    made = MemoryLog(database)
    for hour in (HOUR, NEXT_HOUR):
        for minute in range(0, 60, 5):
            for number, place in enumerate(PLACES):
                made.append(
                    seen(
                        minute, place, hour=hour,
                        aqi=None if (minute + number) % 3 == 0 else minute + number,
                        speeds=None if minute % 2 else (30.123456789 + number, 41.7 + minute),
                        road_closure=None if minute % 2 else minute == 10,
                        pollutants={"pm25": 57.25, "t": -1.5} if minute % 3 == 0 else None,
                    )
                )  # fmt: skip
    made.store()
    return made


def rows_of(archive: Archive, manifest: Manifest, **asked: Any) -> list[dict[str, Any]]:
    return [row for batch in archive.read(manifest, **asked) for row in batch.to_pylist()]


def raw_rows(database: Database, day: date = DAY, columns: str = ", ".join(COLUMNS)) -> list[dict[str, Any]]:
    """The same out of the table, JSON as text."""
    found = database.rows(
        f"select {columns.replace('pollutants', 'pollutants::text as pollutants')} from raw_data "
        'where city_date = :day order by location collate "C", timestamp',
        day=day,
    )
    return [dict(row._mapping) for row in found]


def bits(row: dict[str, Any]) -> dict[str, str]:
    """A row in which -0.0 is not 0.0."""
    return {name: str(value) if isinstance(value, datetime) else repr(value) for name, value in row.items()}


def archived(archive: Archive, day: date = DAY) -> Manifest:
    """Archive a day that raw_data holds something of."""
    manifest = archive.write(day, "a run")
    assert manifest is not None
    return manifest


def visible(archive: Archive, day: date = DAY) -> Manifest | None:
    """What a reader would be handed of a day."""
    found = archive.days(day, day + timedelta(days=1))
    return found[0] if found else None


def stale(database: Database, first: date = DAY, until: date = DAY_AFTER) -> list[tuple[date, int]]:
    return [(one.day, one.rows) for one in stale_archives(database.writer, first, until)]


def change(database: Database, *statements: str) -> None:
    with transaction(database.owner) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def leftovers(database: Database) -> list[str]:
    return [row.path for row in database.rows("select path from archive_leftovers order by path")]


# ---------------------------------------------------------------- what is written is what is read


def test_a_day_comes_back_as_it_is_in_the_table(database: Database, log: MemoryLog, archive: Archive) -> None:
    manifest = archived(archive)
    assert rows_of(archive, manifest) == raw_rows(database)
    assert len(raw_rows(database)) == manifest.rows == 96
    found = visible(archive)
    assert found is not None
    assert replace(found, written_at=manifest.written_at, verified_at=manifest.verified_at) == manifest


ODD = (  # location, timestamp, source, latitude, current_speed, congestion_ratio, pollutants
    ('Jalan "Raya",\nü 東京 \\N', "2025-06-02T03:00:00.000001Z", "", 0.1, 0.1 + 0.2, 1 / 3, None),
    (" ", "2025-06-02T03:00:00.999999Z", "a,b\r\n", -5e-324, 300.0, -0.0, '{"é": [1, null, "x\\"y"], "n": 1e-7}'),
    ("ä", "2025-06-02T03:00:00Z", "NULL", 90.0, 2.2250738585072014e-308, 0.123456789, "{}"),
    ("z", "2025-06-02T03:00:00Z", "f", 1.7976931348623157e2, 1e-15, 1e16, '"t"'),
)


def test_odd_values_come_back_to_the_last_bit(
    database: Database, in_a_folder: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_BLOCK", 100)  # a row or two at a time
    with transaction(database.owner) as connection:
        connection.execute(sa.text("select ensure_raw_partition('2025-06-02Z')"))
        for number, (place, at, source, latitude, speed, ratio, pollutants) in enumerate(ODD):
            connection.execute(
                sa.text(
                    "insert into raw_data (location, timestamp, hour_start, city_date, aqi_category, is_peak_hour, "
                    "source, log_partition, log_offset, latitude, current_speed, congestion_ratio, pollutants) values "
                    "(:place, :at, '2025-06-02T03:00Z', '2025-06-02', 'Unknown', false, :source, 32767, :number, "
                    ":latitude, :speed, :ratio, cast(:pollutants as jsonb))"
                ),
                {"place": place, "at": at, "source": source, "number": 2**62 + number, "latitude": latitude,
                 "speed": speed, "ratio": ratio, "pollutants": pollutants},
            )  # fmt: skip
        connection.exec_driver_sql(
            "insert into raw_hours select hour_start, log_partition, city_date, count(*), max(log_offset) "
            "from raw_data group by 1, 2, 3"
        )
    found = rows_of(in_a_folder, archived(in_a_folder))
    assert [row["location"] for row in found] == [" ", 'Jalan "Raya",\nü 東京 \\N', "z", "ä"], "by bytes"
    assert [bits(row) for row in found] == [bits(row) for row in raw_rows(database)]


@pytest.mark.parametrize(("day", "hours"), [(date(2025, 11, 2), 25), (date(2025, 3, 9), 23)])
def test_a_day_on_which_clocks_change_has_all_its_hours_and_nobody_elses(
    database: Database, in_a_folder: Archive, day: date, hours: int
) -> None:
    database.claim(City("Somewhere", "America/New_York", locations=(Location("Cinere"),)))
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=24)
    messages = [seen(minute, "Cinere", aqi=1, hour=start) for minute in range(0, 4 * 24 * 60, 30)]
    with transaction(database.writer) as connection:
        validator = load_deployment(connection).validator()
    import_observations(database.writer, [validator.validate(one, one.timestamp) for one in messages], "a file")
    manifest = archived(in_a_folder, day)
    found = rows_of(in_a_folder, manifest, columns=["timestamp", "hour_start", "city_date"])
    assert manifest.rows == len(found) == 2 * hours
    assert {row["city_date"] for row in found} == {day}
    assert len({row["hour_start"] for row in found}) == hours
    assert found == raw_rows(database, day, "timestamp, hour_start, city_date")


def test_the_columns_are_the_tables_with_their_types_and_what_may_be_missing(database: Database) -> None:
    types = {
        "text": "string", "character varying(50)": "string", "jsonb": "string", "date": "date32[day]",
        "timestamp with time zone": "timestamp[us, tz=UTC]", "double precision": "double", "integer": "int32",
        "smallint": "int16", "bigint": "int64", "boolean": "bool",
    }  # fmt: skip
    rows = database.rows(
        "select attname, format_type(atttypid, atttypmod) as type, not attnotnull as nullable from pg_attribute "
        "where attrelid = 'raw_data'::regclass and attnum > 0 and not attisdropped"
    )
    expected = {
        row.attname: (types[row.type], row.nullable) for row in rows if row.attname not in ("id", "is_processed")
    }
    assert {field.name: (str(field.type), field.nullable) for field in SCHEMA} == expected
    assert tuple(SCHEMA.names) == COLUMNS


def test_the_file_says_what_it_is(
    database: Database, log: MemoryLog, where: Where, archive: Archive, tmp_path: Path
) -> None:
    manifest = archived(archive)
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(where.bytes_of(manifest.path))
    with pq.ParquetFile(copy) as file:
        facts = {key.decode(): value.decode() for key, value in file.schema_arrow.metadata.items()}
        group = file.metadata.row_group(0)
        assert {group.column(number).compression for number in range(len(COLUMNS))} == {"ZSTD"}
        assert [file.schema.names[one.column_index] for one in group.sorting_columns] == ["location", "timestamp"]
    assert facts["lambda_pipeline.schema_version"] == str(SCHEMA_VERSION)
    assert facts["lambda_pipeline.city_date"] == "2025-06-02"
    assert json.loads(facts["lambda_pipeline.covered"]) == {str(key): end for key, end in manifest.covered.items()}
    assert manifest.covered[log.partitions[0].id] == 96
    assert manifest.path.startswith("raw_data/2025/2025-06-02-")


def test_a_day_of_which_nothing_is_stored_has_no_archive(
    database: Database, log: MemoryLog, where: Where, archive: Archive
) -> None:
    assert archive.write(DAY_AFTER, "a run") is None
    assert (where.paths(), leftovers(database), visible(archive, DAY_AFTER)) == ([], [], None)


# ---------------------------------------------------------------- reading a part of it


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row group for each place."""
    monkeypatch.setattr(write, "ROW_GROUP", 24)


@pytest.mark.usefixtures("small_groups")
def test_columns_and_locations_may_be_chosen(database: Database, log: MemoryLog, archive: Archive) -> None:
    manifest = archived(archive)
    everything = raw_rows(database)
    for places in (["Gunung"], ["Cinere", "Krukut"], ["Nowhere"], [], list(PLACES)):
        for columns in (["aqi_value", "timestamp"], ["location"], ["log_offset"]):
            expected = [{name: row[name] for name in columns} for row in everything if row["location"] in places]
            assert rows_of(archive, manifest, columns=columns, locations=places) == expected
    assert rows_of(archive, manifest, locations=["Gunung"]) == [
        row for row in everything if row["location"] == "Gunung"
    ]


@pytest.mark.usefixtures("small_groups")
def test_row_groups_without_the_location_are_not_read_and_a_broken_page_is_found(
    database: Database, log: MemoryLog, where: Where, archive: Archive, tmp_path: Path
) -> None:
    manifest = archived(archive)
    content = bytearray(where.bytes_of(manifest.path))
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(content)
    with pq.ParquetFile(copy) as file:
        assert file.num_row_groups == 4
        column = file.metadata.row_group(0).column(COLUMNS.index("log_offset"))
        end = column.data_page_offset + column.total_compressed_size
    content[end - 1] ^= 0xFF
    where.overwrite(manifest.path, bytes(content))
    assert len(rows_of(archive, manifest, locations=["Krukut"])) == 24
    with pytest.raises(ArchiveDamagedError, match=f"the archive of 2025-06-02 is damaged .{manifest.path}."):
        rows_of(archive, manifest, locations=["Cinere"])


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


# ---------------------------------------------------------------- whole, or not there


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


# ---------------------------------------------------------------- what the check compares


def test_a_value_that_differs_is_named_and_rows_that_came_later_are_not(
    database: Database, log: MemoryLog, in_a_folder: Archive
) -> None:
    manifest = archived(in_a_folder)
    log.append(seen(1, "Krukut", aqi=500))
    log.store()
    assert disagreement(database.writer, in_a_folder, manifest) == ""
    change(database, "update raw_data set aqi_value = aqi_value + 1 where log_offset = 1")
    found = disagreement(database.writer, in_a_folder, manifest)
    total = database.scalar("select sum(aqi_value) from raw_data where log_offset < 96")
    assert found == f"2025-06-02: the archive has aqi_sum {int(str(total)) - 1}, raw_data {total}."


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
