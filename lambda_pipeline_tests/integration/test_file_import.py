"""Imports of files: what is taken, what is refused as a whole, and what happens to bad lines."""

import gzip
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lambda_pipeline.batch import file_import
from lambda_pipeline.batch.file_import import import_file
from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.errors import ImportRefusedError
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline_tests.integration.import_files import HEADER, LINES, STORED, counts, rejects, stored
from lambda_pipeline_tests.integration.serving.data import Log, message
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


# ---------------------------------------------------------------- formats


def as_plain(path: Path, text: str) -> Path:
    path = path / "data.csv"
    path.write_text(text, encoding="utf-8")
    return path


def as_gzip(path: Path, text: str) -> Path:
    path = path / "data.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def as_gzip_by_another_name(path: Path, text: str) -> Path:
    path = path / "data.csv"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def with_byte_order_mark(path: Path, text: str) -> Path:
    path = path / "data.csv"
    path.write_text(text, encoding="utf-8-sig")
    return path


def with_windows_lines(path: Path, text: str) -> Path:
    path = path / "data.csv"
    path.write_bytes(text.replace("\n", "\r\n").encode())
    return path


def without_a_last_newline(path: Path, text: str) -> Path:
    return as_plain(path, text.rstrip("\n"))


def with_quotes_and_other_columns(path: Path, text: str) -> Path:
    lines = [f'"{line}"'.replace(",", '","') for line in text.splitlines()]
    return as_plain(path, "\n".join([f"note,{lines[0]}", *(f'"a, b",{line}' for line in lines[1:])]) + "\n")


@pytest.mark.parametrize(
    "save",
    [as_plain, as_gzip, as_gzip_by_another_name, with_byte_order_mark, with_windows_lines, without_a_last_newline,
     with_quotes_and_other_columns],
)  # fmt: skip
def test_csv_is_read_however_it_was_saved(database: Database, tmp_path: Path, save: Callable[..., Path]) -> None:
    path = save(tmp_path, "\n".join([HEADER, *LINES]) + "\n")
    report = import_file(database.writer, path)
    assert counts(report) == (3, 3, 0, 0)
    assert stored(database) == STORED
    assert (report.first, report.last) == (
        datetime(2025, 3, 3, 0, tzinfo=UTC),
        datetime(2025, 3, 3, 1, tzinfo=UTC),
    )
    assert {tuple(row) for row in database.rows("select distinct source from raw_data")} == {(f"import:{path.name}",)}


MOMENTS = [datetime(2025, 3, 3, 7, 0), datetime(2025, 3, 3, 7, 30), datetime(2025, 3, 3, 8, 0)]  # noqa: DTZ001


@pytest.mark.parametrize("zone", [None, "Asia/Jakarta", "UTC", "America/New_York"])
def test_parquet_timestamps_are_instants_and_naive_ones_the_citys_time(
    database: Database, tmp_path: Path, zone: str | None
) -> None:
    times = pd.Series(pd.to_datetime(MOMENTS)).dt.tz_localize("Asia/Jakarta")
    times = times.dt.tz_localize(None) if zone is None else times.dt.tz_convert(zone)
    for unit in ("ns", "us", "ms", "s"):
        table = pa.table(
            {
                "timestamp": pa.array(times, pa.timestamp(unit, zone)),
                "location": pa.array(["Cinere", "Cinere", "Gunung"]).dictionary_encode(),
                "aqi_value": pa.array([120, None, 80], pa.int16()),
                "current_speed": pa.array([30.5, 45, None], pa.float32()),
                "free_flow_speed": pa.array([60, 60, None], pa.float64()),
                "ignored": [[1], [2], [3]],
            }
        )
        path = tmp_path / f"{unit}.parquet"
        pq.write_table(table, path)
        report = import_file(database.writer, path)
        assert report.reasons == []
        assert (report.stored if unit == "ns" else report.known_before) == 3
    assert stored(database) == STORED


def test_parquet_that_pandas_wrote_with_missing_numbers_as_nan_is_read(database: Database, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "timestamp": [f"2025-03-03T0{hour}:00:00+07:00" for hour in (7, 8)],
            "location": ["Cinere", "Cinere"],
            "aqi_value": [120.0, float("nan")],
            "road_closure": [None, True],
        }
    )
    path = tmp_path / "data.parquet"
    frame.to_parquet(path, index=False)
    assert counts(import_file(database.writer, path)) == (2, 2, 0, 0)
    assert [row[2:4] for row in stored(database)] == [(120, None), (None, 5)]


def test_parquet_by_another_name_is_read(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "DATA.PQ"
    pq.write_table(pa.table({"timestamp": MOMENTS, "location": ["Cinere"] * 3}), path)
    assert import_file(database.writer, path).stored == 3


def test_bad_parquet_rows_are_rejected_by_number(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"timestamp": MOMENTS, "location": ["Cinere"] * 3, "aqi_value": [1, 5000, 2]}), path)
    report = import_file(database.writer, path)
    assert counts(report) == (3, 2, 0, 1)
    assert report.reasons[0].startswith("line 2: ")
    assert [row[0] for row in rejects(path)] == ["line", "2"]


@pytest.mark.parametrize(
    ("header", "line", "expected"),
    [
        ("timestamp,location", "2025-03-03T00:00:00Z,Cinere", (None, None, None)),
        ("location,timestamp,aqi_value", "Cinere,2025-03-03T00:00:00Z,0", (0, None, None)),
        ("timestamp,location,traffic_level", "2025-03-03T00:00:00Z,Cinere,4", (None, 4, None)),
        ("timestamp,location,current_speed", "2025-03-03T00:00:00Z,Cinere,12.5", (None, None, 12.5)),
        ("timestamp,location,free_flow_speed", "2025-03-03T00:00:00Z,Cinere,60", (None, None, None)),
        (
            "timestamp,location,latitude,longitude,aqi_value,traffic_level",
            "2025-03-03T07:00,Cinere,,,55,1",
            (55, 1, None),
        ),
        (HEADER, "2025-03-03 07:00:00,Cinere,55,10,50", (55, 5, 10.0)),
        (HEADER, "2025-03-03T07:00:00,Cinere", (None, None, None)),  # a short line: the rest is missing
        (HEADER, " 2025-03-03T00:00:00+00:00 ,Cinere, 55.0 , 25 ,5e1", (55, 4, 25.0)),
        (HEADER, "2025-03-03T07,Cinere,null,NaN,-", (None, None, None)),
        (HEADER, "20250303T070000,Cinere,None,NA,\\N", (None, None, None)),
        (HEADER, "2025-03-03T07:00,Cinere,1000,300,0", (1000, None, 300.0)),
        ("timestamp,location,road_closure", "2025-03-03T07:00,Cinere,TRUE", (None, 5, None)),
        ("timestamp,location,road_closure", "2025-03-03T07:00,Cinere,f", (None, None, None)),
    ],
)
def test_any_measure_may_be_absent_and_numbers_may_be_written_in_any_usual_way(
    database: Database, write: Callable[..., Path], header: str, line: str, expected: tuple[object, ...]
) -> None:
    report = import_file(database.writer, write(line, header=header))
    assert report.reasons == []
    assert stored(database) == [("2025-03-03T00:00:00", "Cinere", *expected)]


# ---------------------------------------------------------------- idempotence


def test_the_same_file_twice_changes_nothing(database: Database, write: Callable[..., Path]) -> None:
    path = write(*LINES)
    import_file(database.writer, path)
    before = database.rows("select * from raw_data order by id")
    latest = database.rows("select * from latest_observations order by location")
    report = import_file(database.writer, path)
    assert counts(report) == (3, 0, 3, 0)
    assert database.rows("select * from raw_data order by id") == before
    changed = database.rows("select * from latest_observations order by location")
    assert [row[:-1] for row in changed] == [row[:-1] for row in latest]  # but updated_at


def test_a_key_keeps_the_values_that_were_stored_first_within_a_file_and_across(
    database: Database, write: Callable[..., Path]
) -> None:
    path = write("2025-03-03T07:00,Cinere,1", "2025-03-03T07:00,Cinere,2", header="timestamp,location,aqi_value")
    assert counts(import_file(database.writer, path)) == (2, 1, 1, 0)
    import_file(database.writer, write("2025-03-03T07:00+07:00,Cinere,3", header="timestamp,location,aqi_value"))
    assert [row[2] for row in stored(database)] == [1]


def test_an_import_of_many_chunks_is_whole(
    database: Database, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_import, "CHUNK_ROWS", 7)
    start = datetime(2025, 1, 31, 16, tzinfo=UTC)  # into a second month of the city
    lines = [f"{(start + timedelta(minutes=n)).isoformat()},Cinere,{n % 500}" for n in range(100)]
    done: list[tuple[int, int]] = []
    report = import_file(
        database.writer, write(*lines, header="timestamp,location,aqi_value"),
        on_progress=lambda count, total: done.append((count, total)),
    )  # fmt: skip
    assert counts(report) == (100, 100, 0, 0)
    assert [row[2] for row in stored(database)] == [n % 500 for n in range(100)]
    assert database.scalar("select sum(rows) from raw_hours") == 100
    assert database.scalar("select count(distinct log_offset) from raw_data") == 100
    assert done[-1][0] == done[-1][1] > 0


def test_an_import_is_served_once_when_its_days_are_published_and_not_before(
    database: Database, write: Callable[..., Path]
) -> None:
    import_file(database.writer, write(*LINES))
    serving = ServingLayer(database.reader)
    days = date(2025, 3, 3), date(2025, 3, 4)
    assert serving.get_hourly(*days).empty
    Log(database).publish()
    assert serving.get_hourly(*days)["data_points_count"].tolist() == [2, 1]
    assert set(serving.get_raw_data(*days)["layer"]) == {"batch"}


# ---------------------------------------------------------------- locations


def test_unknown_locations_are_refused_by_name_and_nothing_is_stored(
    database: Database, write: Callable[..., Path]
) -> None:
    path = write(*LINES, "2025-03-03T07:00,Atlantis,1,,", "2025-03-03T07:00,El Dorado,1,,")
    with pytest.raises(ImportRefusedError) as caught:
        import_file(database.writer, path)
    assert "Jakarta does not know 'Atlantis', 'El Dorado'" in str(caught.value)
    assert "--add-locations" in caught.value.next_action
    assert stored(database) == []
    assert database.scalar("select count(*) from locations") == 10
    assert database.scalar("select count(*) from latest_observations") == 0


def test_many_unknown_locations_are_counted(database: Database, write: Callable[..., Path]) -> None:
    path = write(*(f"2025-03-03T07:00,place {n:02d},1,," for n in range(25)))
    with pytest.raises(ImportRefusedError, match="'place 09' and 15 more"):
        import_file(database.writer, path)


def test_added_locations_are_registered_with_their_coordinates(database: Database, write: Callable[..., Path]) -> None:
    path = write(
        "2025-03-03T07:00,Atlantis,,,1", "2025-03-03T08:00,Atlantis,31.5,-24.25,2", "2025-03-03T07:00,Lost,95,10,3",
        "2025-03-03T07:00,Nowhere,,,4", "2025-03-03T07:00,Cinere,1,1,5",
        header="timestamp,location,latitude,longitude,aqi_value",
    )  # fmt: skip
    report = import_file(database.writer, path, add_locations=True)
    assert report.added_locations == 3
    found = database.rows("select name, latitude, longitude, is_active from locations where origin = 'import'")
    assert {tuple(row) for row in found} == {
        ("Atlantis", 31.5, -24.25, True), ("Lost", None, None, True), ("Nowhere", None, None, True),
    }  # fmt: skip
    assert database.scalar("select latitude from locations where name = 'Cinere'") == -6.3498
    places = dict(tuple(row) for row in database.rows("select location, latitude from raw_data where aqi_value >= 2"))
    assert places == {"Atlantis": 31.5, "Nowhere": None, "Cinere": -6.3498}


def test_locations_that_were_added_are_known_to_the_next_import(database: Database, write: Callable[..., Path]) -> None:
    import_file(database.writer, write("2025-03-03T07:00,Atlantis,1,,"), add_locations=True)
    report = import_file(database.writer, write("2025-03-03T08:00,Atlantis,1,,"))
    assert (report.stored, report.added_locations) == (1, 0)


def test_a_city_without_locations_takes_them_all_from_the_file(database: Database, write: Callable[..., Path]) -> None:
    database.claim(City("Los Angeles", "America/Los_Angeles"), date(2025, 1, 1))
    report = import_file(database.writer, write("2025-03-03T07:00,LA-1,,10,20"), add_locations=True)
    assert report.stored == 1
    assert stored(database) == [("2025-03-03T15:00:00", "LA-1", None, 4, 10.0)]  # naive: the city's time


# ---------------------------------------------------------------- latest observations


def latest(database: Database, location: str = "Cinere") -> tuple[object, ...]:
    row = database.rows(
        "select observed_at, aqi_value, aqi_observed_at, traffic_level, current_speed, traffic_observed_at "
        "from latest_observations where location = :location",
        location=location,
    )[0]
    return tuple(row)


def test_latest_observations_follow_the_newest_of_each_measure(database: Database, write: Callable[..., Path]) -> None:
    first, second, third, fourth = (datetime(2025, 3, 3, hour, tzinfo=UTC) for hour in range(4))
    import_file(
        database.writer,
        write(
            f"{third.isoformat()},Cinere,,20,",  # a speed alone
            f"{first.isoformat()},Cinere,10,60,60",
            f"{fourth.isoformat()},Cinere,,,",  # nothing at all
            f"{second.isoformat()},Cinere,20,,",
        ),
    )
    assert latest(database) == (fourth, 20, second, None, 20.0, third)


def test_an_old_import_does_not_turn_latest_observations_back(database: Database, write: Callable[..., Path]) -> None:
    log = Log(database)
    now = datetime(2025, 3, 4, tzinfo=UTC)
    log.append(message("Cinere", now, aqi=300, level=5))
    log.consume()
    before = latest(database)
    import_file(database.writer, write(*LINES))
    assert latest(database) == before
    assert latest(database, "Gunung")[1] == 80


def test_a_switched_off_location_may_still_be_imported(database: Database, write: Callable[..., Path]) -> None:
    database.claim(City("Jakarta", "Asia/Jakarta", locations=(Location("Cinere"),)))
    with database.owner.begin() as connection:
        connection.exec_driver_sql("update locations set is_active = false")
    assert import_file(database.writer, write(LINES[0])).stored == 1
