"""What ingest polled: where it waits, what it says, and that the platform serves it once."""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import msgspec

from lambda_pipeline_tests.faults.load import read_log
from lambda_pipeline_tests.faults.stage import Platform
from lambda_pipeline_tests.processes import Daemon, wait_for

_MEASURES = ("aqi_value", "current_speed", "free_flow_speed", "road_closure")
Key = tuple[str, datetime]
Values = tuple[object, ...]


def poll_from(tomtom: str, aqicn: str) -> dict[str, str]:
    """Settings of an ingest that asks these addresses about every location each second."""
    return {
        "LAMBDA_TOMTOM_URL": tomtom, "LAMBDA_AQICN_URL": aqicn, "LAMBDA_POLL_INTERVAL": "1",
        "LAMBDA_TOMTOM_DAILY_QUOTA": "1000000", "TOMTOM_API_KEY": "simulated", "AQICN_TOKEN": "simulated",
    }  # fmt: skip


def says(daemon: Daemon, text: str, said: int = 0) -> None:
    """Wait until a daemon says something, after the first `said` characters of its log."""
    wait_for(lambda: text in daemon.log[said:], f"{daemon.name} says: {text}")


def spool_of(platform: Platform) -> Path:
    """Where ingest keeps what Kafka has not acknowledged."""
    return Path(platform.environment["LAMBDA_HOME"]) / "ingest" / "spool.db"


def waiting(path: Path) -> list[bytes]:
    """The observations in a spool, also while it is in use: polled, and durable."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as spool:
        return [value for (value,) in spool.execute("select value from observations order by id")]


def polls(values: Iterable[bytes]) -> dict[Key, Values]:
    """What messages say by location and time, the first copy of each."""
    found: dict[Key, Values] = {}
    for message in map(msgspec.json.decode, values):
        moment = datetime.fromisoformat(message["timestamp"])
        found.setdefault((message["location"], moment), tuple(message.get(name) for name in _MEASURES))
    return found


def assert_each_poll_is_served_once(platform: Platform, durable: list[bytes]) -> Counter[bytes]:
    """With its own values, and what was durable in the spool among them; returns the copies of each message."""
    copies = Counter(value or b"{}" for _, _, value in read_log(platform.connection, platform.topic))
    rows = platform.rows(f"select location, timestamp, {', '.join(_MEASURES)} from served_observations")
    served = {(row.location, row.timestamp): tuple(row[2:]) for row in rows}
    assert len(served) == len(rows)
    assert served == polls(copies)
    assert set(durable) <= copies.keys(), "what was polled while Kafka was away is missing"
    assert polls(durable).items() <= served.items()
    return copies
