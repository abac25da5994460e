"""An archive of a database, and two hours to put into it."""

from pathlib import Path

import pytest

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.batch.raw_retention import RetentionRun
from lambda_pipeline_tests.integration.archiving.days import PLACES, archived
from lambda_pipeline_tests.integration.archiving.months import drop, judge_anew
from lambda_pipeline_tests.integration.object_store import Where, in_folder
from lambda_pipeline_tests.integration.observations import (
    HOUR,
    NEXT_HOUR,
    MemoryLog,
    publish,
    seen,
)
from lambda_pipeline_tests.servers import Database


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


@pytest.fixture
def dropped(database: Database, log: MemoryLog, in_a_folder: Archive) -> Archive:
    """The log's month, published, archived and dropped."""
    log.consume()
    publish(database, HOUR, NEXT_HOUR)
    archived(in_a_folder)
    assert drop(database, in_a_folder) == RetentionRun(["2025-06"], {})
    judge_anew(database, log)
    return in_a_folder
