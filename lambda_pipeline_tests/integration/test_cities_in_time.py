"""Cities whose clocks change and cities half an hour apart, the whole way: files, log, both layers, peaks.

What must come out is computed by pandas from the observations alone.
"""

import csv
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pandas as pd
import pytest
from kafka import KafkaProducer

from lambda_pipeline.automation.backfill import run_backfill
from lambda_pipeline.batch.file_import import import_file
from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.domain.observation import ObservationMessage, encode
from lambda_pipeline.domain.peak_hours import PeakWindow
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.topic import Topic
from lambda_pipeline_tests.integration.dagster_runs import consume
from lambda_pipeline_tests.integration.serving import data
from lambda_pipeline_tests.integration.serving.data import message, some_days
from lambda_pipeline_tests.servers import HISTORY_START, Database

pytestmark = pytest.mark.integration

PLACES = ("Alfa", "Bravo", "Charlie")
WINDOWS = ((1, 3), (16, 20))  # the first one is where clocks change
ONE_DAY = timedelta(days=1)
COLUMNS = (
    "timestamp", "location", "aqi_value", "traffic_level", "current_speed", "free_flow_speed", "road_closure",
)  # fmt: skip


@dataclass(frozen=True)
class CityInTime:
    """A city, and a day of its that has so many hours."""

    zone: str
    day: date
    hours: int

    @property
    def city(self) -> City:
        windows = tuple(PeakWindow(*window) for window in WINDOWS)
        return City("Somewhere", self.zone, windows, tuple(Location(place) for place in PLACES))

    @property
    def days(self) -> tuple[date, date]:
        """The day with its neighbours, half-open."""
        return self.day - ONE_DAY, self.day + 2 * ONE_DAY


SPRING = CityInTime("America/New_York", date(2025, 3, 9), 23)
AUTUMN = CityInTime("America/New_York", date(2025, 11, 2), 25)
HALF = CityInTime("Asia/Kolkata", date(2025, 6, 2), 24)


def write_file(path: Path, messages: list[ObservationMessage], zone: str) -> Path:
    """A CSV of the observations: in city time where that says which instant is meant, with an offset where not."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, one in enumerate(messages):
            local = one.timestamp.astimezone(ZoneInfo(zone))
            said = local.replace(tzinfo=None) if local.fold == 0 and number % 3 else local
            values = ("" if value is None else value for value in map(one.__getattribute__, COLUMNS[1:]))
            writer.writerow([said.isoformat(), *values])
    return path


def produce(kafka: KafkaConnection, topic: Topic, messages: list[ObservationMessage]) -> None:
    producer = KafkaProducer(**kafka.client_settings("test"), acks="all")
    for one in messages:
        producer.send(topic.name, encode(one), key=one.location.encode())
    producer.flush(60)
    producer.close()


def worst_hours(observed: pd.DataFrame) -> list[tuple[object, ...]]:
    """What `peak_hours` must hold: the worst average; of equals the earlier hour, then the name."""
    found = []
    for day, of_day in observed.groupby("date"):
        row: list[object] = [day.date()]
        for measure in ("aqi", "level"):
            averages = of_day.groupby(["hour_start", "hour", "location"], as_index=False)[measure].mean()
            averages = averages.dropna().sort_values(
                [measure, "hour_start", "location"], ascending=[False, True, True]
            )  # fmt: skip
            row += averages.iloc[0][["hour", measure, "location"]].tolist()
        found.append(tuple(row))
    return found


def assert_served(database: Database, observed: pd.DataFrame, where: CityInTime) -> set[str]:
    """Serving gives what pandas computes; returns which layers answered."""
    serving = ServingLayer(database.reader)
    hourly = serving.get_hourly(*where.days)
    expected = data.hourly(observed)
    data.assert_equal(hourly, expected, without=["expected_count", "layer"])
    data.assert_equal(serving.get_daily(*where.days), data.daily(observed), without=["expected_count", "is_peak_hour"])
    analysis = expected.rename(
        columns={"avg_traffic": "avg_traffic_level", "avg_aqi": "avg_aqi_value", "data_points_count": "total_records"}
    )
    analysis["is_weekend"] = analysis["date"].dt.dayofweek >= 5
    data.assert_equal(serving.get_peak_hours_analysis(*where.days), analysis, without=["layer"])
    return set(hourly["layer"])


@pytest.mark.parametrize("where", [SPRING, AUTUMN, HALF], ids=["spring", "autumn", "half an hour"])
def test_import_batch_speed_and_peaks_are_right(
    database: Database, kafka: KafkaConnection, topic: Topic, tmp_path: Path, where: CityInTime
) -> None:
    database.claim(where.city)
    start, end = (datetime.combine(day, datetime.min.time(), ZoneInfo(where.zone)) for day in where.days)
    draw = random.Random(where.zone + str(where.day))
    messages = [one for one in some_days(start.astimezone(UTC), 4, PLACES) if one.timestamp < end.astimezone(UTC)]
    imported = [one for one in messages if draw.random() < 0.5]
    logged = [msgspec.structs.replace(one, aqi_value=500) for one in imported if draw.random() < 0.2]
    logged += [one for one in messages if one not in imported]
    draw.shuffle(logged)

    def observed(rows: list[ObservationMessage]) -> pd.DataFrame:
        return data.as_frame(rows, where.zone, WINDOWS)

    report = import_file(database.writer, write_file(tmp_path / "history.csv", imported, where.zone))
    assert (report.rows, report.stored, report.rejected) == (len(imported), len(imported), 0)
    assert ServingLayer(database.reader).get_hourly(*where.days).empty
    run_backfill(where.city, HISTORY_START, *where.days)
    assert assert_served(database, observed(imported), where) == {"batch"}
    produce(kafka, topic, logged)
    consume(database, kafka, topic, len(logged))
    everything = observed(imported + logged)
    assert "both" in assert_served(database, everything, where)
    run_backfill(where.city, HISTORY_START, *where.days)
    assert assert_served(database, everything, where) == {"batch"}
    assert database.scalar("select count(*) from realtime_data") == 0

    (hours,) = {len(rows) for _, rows in of_day(database, where.day).groupby("location")}
    assert hours == where.hours
    stored = database.rows(
        "select hour_start, date, hour, location, avg_traffic_level, avg_aqi_value, is_peak_hour, total_records "
        "from peak_hours_analysis order by hour_start, location"
    )
    expected = data.hourly(everything)
    columns = ("hour_start", "date", "hour", "location", "is_peak_hour", "total_records")
    assert [tuple(getattr(row, column) for column in columns) for row in stored] == [
        (row.hour_start, row.date.date(), row.hour, row.location, row.is_peak_hour, row.data_points_count)
        for row in expected.itertuples()
    ]  # fmt: skip
    worst = database.rows(
        "select analysis_date, peak_aqi_hour, peak_aqi_value, peak_aqi_location, peak_traffic_hour, "
        "peak_traffic_value, peak_traffic_location from peak_hours order by analysis_date"
    )
    for row, wanted in zip(worst, worst_hours(everything), strict=True):
        assert tuple(row) == tuple(pytest.approx(one) if isinstance(one, float) else one for one in wanted)


def of_day(database: Database, day: date) -> pd.DataFrame:
    """The served hours of a day."""
    return ServingLayer(database.reader).get_hourly(day, day + ONE_DAY)


def test_the_hour_that_happens_twice_is_two_hours_in_every_table(
    database: Database, kafka: KafkaConnection, topic: Topic, tmp_path: Path
) -> None:
    """The first of the two wins a tie although its place comes later by name, and each has its own layer."""
    database.claim(AUTUMN.city)
    first, second = datetime(2025, 11, 2, 5, tzinfo=UTC), datetime(2025, 11, 2, 6, tzinfo=UTC)
    (tmp_path / "two.csv").write_text(
        "timestamp,location,aqi_value,traffic_level\n"
        "2025-11-02T01:10,Charlie,200,\n"  # city time that comes twice means the first
        "2025-11-02T01:10-05:00,Alfa,200,\n"
        "2025-11-02 01:50:00-04:00,Alfa,,3\n"
        "2025-11-02T06:50Z,Bravo,,4\n",
        encoding="utf-8",
    )
    assert import_file(database.writer, tmp_path / "two.csv").stored == 4
    run_backfill(AUTUMN.city, HISTORY_START, AUTUMN.day, AUTUMN.day + ONE_DAY)
    found = of_day(database, AUTUMN.day)
    assert found[["hour_start", "hour", "location"]].to_numpy().tolist() == [
        [first, 1, "Alfa"], [first, 1, "Charlie"], [second, 1, "Alfa"], [second, 1, "Bravo"],
    ]  # fmt: skip
    assert found["is_peak_hour"].all()
    worst = (
        "select peak_aqi_hour, peak_aqi_value, peak_aqi_location, peak_traffic_hour, peak_traffic_location "
        "from peak_hours"
    )
    assert [tuple(row) for row in database.rows(worst)] == [(1, 200, "Charlie", 1, "Bravo")]
    assert database.scalar("select count(*) from peak_hours_analysis where hour = 1") == 4

    produce(kafka, topic, [message("Alfa", second + timedelta(minutes=30), aqi=400)])
    consume(database, kafka, topic, 1)
    found = of_day(database, AUTUMN.day)
    assert found["layer"].tolist() == ["batch", "batch", "both", "batch"]
    assert found["avg_aqi"].fillna(0).tolist() == [0, 200, 300, 0]
    run_backfill(AUTUMN.city, HISTORY_START, AUTUMN.day, AUTUMN.day + ONE_DAY)
    assert [tuple(row) for row in database.rows(worst)] == [(1, 300, "Alfa", 1, "Bravo")]


def test_city_time_that_does_not_exist_lies_an_hour_later(database: Database, tmp_path: Path) -> None:
    database.claim(SPRING.city)
    (tmp_path / "gap.csv").write_text("timestamp,location,aqi_value\n2025-03-09T02:30,Alfa,100\n", encoding="utf-8")
    assert import_file(database.writer, tmp_path / "gap.csv").stored == 1
    found = database.rows("select timestamp, hour_start, city_date from raw_data")
    assert [tuple(row) for row in found] == [
        (datetime(2025, 3, 9, 7, 30, tzinfo=UTC), datetime(2025, 3, 9, 7, tzinfo=UTC), SPRING.day)
    ]
