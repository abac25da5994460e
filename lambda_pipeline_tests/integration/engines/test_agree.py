"""Whatever the rows are, every engine gives exactly what PostgreSQL gives."""

import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from lambda_pipeline.batch.archived import ArchiveSource
from lambda_pipeline.batch.engines.engine import SCHEMA, ArchiveEngine
from lambda_pipeline.batch.file_import import import_file
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.integration.engines.engines import (
    all_hours,
    archive_all,
    assert_agrees,
    change,
    days_of,
    prepared,
)
from lambda_pipeline_tests.integration.observations import seen
from lambda_pipeline_tests.integration.real_data import real_data_folder
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration
PLACES = ("Cinere", "GBK, Gelora", 'Jalan "Raya",\n\t東京 \\N', "é", "z")
CHANGES = {  # a zone, its day, and how many hours that has
    "New York, forward": ("America/New_York", date(2025, 3, 9), 23),
    "New York, back": ("America/New_York", date(2025, 11, 2), 25),
    "Kolkata": ("Asia/Kolkata", date(2025, 6, 2), 24),
}
# Products that end in a half, below and above 0, odd and even: as round() of PostgreSQL takes them and nobody else's.
HALVES = (
    "update raw_data set current_speed = (log_offset % 4800) / 16.0 + 0.0625 where log_offset % 3 = 0",
    "update raw_data set congestion_ratio = (log_offset % 513 - 256) / 1024.0 where log_offset % 5 > 1",
    "update raw_data set congestion_ratio = null, current_speed = null where location = 'é'",
    "update raw_data set aqi_value = null, traffic_level = null where location = 'z'",
)


def random_messages(day: date, seed: int) -> list[ObservationMessage]:
    """Two days around midnights of any zone; with and without each measure, and some of them twice."""
    chance = random.Random(seed)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=12)
    made = []
    for _ in range(3_000):
        aqi = chance.choice([None, 0, 1000, chance.randint(0, 1000)])
        speeds = chance.choice([None, (0.0, 0.0), (chance.random() * 300, chance.random() * 300), (-0.0, 50.0)])
        made.append(seen(chance.randrange(60 * 48), chance.choice(PLACES), aqi, hour=start, speeds=speeds))
    return made


def fill(database: Database, zone: str, messages: list[ObservationMessage]) -> None:
    """A city with these places in that zone, and the messages as if they had been imported."""
    database.claim(City("Somewhere", zone, locations=(*map(Location, PLACES[:-1]), Location("z", "A1"))))
    with transaction(database.writer) as connection:
        validator = load_deployment(connection).validator()
    import_observations(database.writer, [validator.validate(one, one.timestamp) for one in messages], "a file")


@pytest.mark.parametrize("change_of_clocks", CHANGES)
def test_random_rows_agree_where_clocks_change(
    database: Database, engine: ArchiveEngine, tmp_path: Path, change_of_clocks: str
) -> None:
    zone, day, hours = CHANGES[change_of_clocks]
    fill(database, zone, random_messages(day, seed=hours))
    found = assert_agrees(database, zone, tmp_path, engine)
    starts = {row[0] for row in found["prepared_aggregations"] if row[2] == day}
    assert len(starts) == hours
    counted = sum(int(str(row[4])) for row in found["prepared_aggregations"])
    assert counted == database.scalar("select count(*) from raw_data") < 3_000, "what came twice counts once"


def test_halves_are_rounded_as_postgresql_and_the_speed_layer_round_them(
    database: Database, engine: ArchiveEngine, tmp_path: Path
) -> None:
    fill(database, "Asia/Jakarta", random_messages(date(2025, 6, 2), seed=1))
    change(database, *HALVES)
    halves = database.scalar(
        "select count(*) from raw_data where abs(mod((current_speed * 1000)::numeric, 1)) = 0.5 "
        "or abs(mod((congestion_ratio * 1e9)::numeric, 1)) = 0.5"
    )
    assert int(str(halves)) > 500
    assert_agrees(database, "Asia/Jakarta", tmp_path, engine)


def test_a_real_week_agrees(database: Database, engine: ArchiveEngine, tmp_path: Path) -> None:
    database.claim(City("Los Angeles", "America/Los_Angeles"), date(2012, 3, 1))
    import_file(database.writer, real_data_folder() / "metr_la_week.csv.gz", add_locations=True)
    found = assert_agrees(database, "America/Los_Angeles", tmp_path, engine)
    assert len(found["prepared_aggregations"]) == 34_776
    assert sum(int(str(row[4])) for row in found["prepared_aggregations"]) == 417_312


def test_only_the_hours_that_are_asked_for_are_given(database: Database, engine: ArchiveEngine, tmp_path: Path) -> None:
    fill(database, "Asia/Jakarta", random_messages(date(2025, 6, 2), seed=2))
    archive = archive_all(database, tmp_path)
    manifests = archive.days(date(2025, 1, 1), date(2026, 1, 1))
    hours = all_hours(database)
    for asked in (hours[20:21], hours[3:30], [hours[0], hours[7], hours[-1]]):
        batches = list(engine.aggregate(archive, manifests, asked))
        assert {batch.schema for batch in batches} == {SCHEMA}
        assert {start for batch in batches for start in batch["hour_start"].to_pylist()} == set(asked)
        source = ArchiveSource(archive, engine, days_of(database))
        assert prepared(database, "Asia/Jakarta", source, asked) == (
            prepared(database, "Asia/Jakarta", hours=asked)[0], frozenset(asked)
        )  # fmt: skip
