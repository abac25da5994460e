"""What is archived is what raw_data holds, whole or a part of it, and a check that says so."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from lambda_pipeline.archive import write
from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import SCHEMA_VERSION
from lambda_pipeline.archive.schema import COLUMNS, SCHEMA
from lambda_pipeline.batch.archive import disagreement
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.errors import (
    ArchiveDamagedError,
)
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.integration.archiving.days import (
    PLACES,
    archived,
    bits,
    change,
    leftovers,
    raw_rows,
    rows_of,
    visible,
)
from lambda_pipeline_tests.integration.object_store import Where
from lambda_pipeline_tests.integration.observations import (
    DAY_AFTER,
    MemoryLog,
    seen,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


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
