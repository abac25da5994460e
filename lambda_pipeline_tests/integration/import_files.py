"""Files to import, and what became of them."""

import csv
from pathlib import Path
from typing import Any

from lambda_pipeline.batch.file_import import ImportReport
from lambda_pipeline_tests.servers import Database

HEADER = "timestamp,location,aqi_value,current_speed,free_flow_speed"
LINES = [
    "2025-03-03T07:00:00+07:00,Cinere,120,30.5,60",
    "2025-03-03T07:30:00+07:00,Cinere,,45,60",
    "2025-03-03T08:00:00+07:00,Gunung,80,,",
]
STORED = [  # time in UTC, location, AQI, level, speed
    ("2025-03-03T00:00:00", "Cinere", 120, 3, 30.5),
    ("2025-03-03T00:30:00", "Cinere", None, 2, 45.0),
    ("2025-03-03T01:00:00", "Gunung", 80, None, None),
]


def stored(database: Database) -> list[tuple[Any, ...]]:
    """What raw_data holds of an import, oldest first."""
    query = (
        "select to_char(timestamp at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS'), location, aqi_value, "
        "traffic_level, current_speed from raw_data order by timestamp, location"
    )
    return [tuple(row) for row in database.rows(query)]


def rejects(path: Path) -> list[list[str]]:
    """The reject file beside an imported one."""
    with path.with_name(f"{path.name}.rejects.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.rows, report.stored, report.known_before, report.rejected
