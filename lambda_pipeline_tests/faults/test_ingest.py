"""Ingest through outages of Kafka, killed in the middle of them: what was polled is served, once, as it was polled."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.simulator import serve
from lambda_pipeline_tests.faults.conftest import Servers
from lambda_pipeline_tests.faults.load import read_log
from lambda_pipeline_tests.faults.stage import SEED, SPEED, Platform, size
from lambda_pipeline_tests.processes import Daemon, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(900)]
_MEASURES = ("aqi_value", "current_speed", "free_flow_speed", "road_closure")
Key = tuple[str, datetime]
Values = tuple[object, ...]


@pytest.fixture
def polled(own_platform: Platform, jakarta: City) -> Iterator[Platform]:
    """The platform with simulated APIs that are asked every second."""
    simulator = serve(jakarta, seed=SEED)
    own_platform.environment |= {
        "LAMBDA_TOMTOM_URL": simulator.url, "LAMBDA_AQICN_URL": simulator.url, "LAMBDA_POLL_INTERVAL": "1",
        "LAMBDA_TOMTOM_DAILY_QUOTA": "1000000", "TOMTOM_API_KEY": "simulated", "AQICN_TOKEN": "simulated",
    }  # fmt: skip
    yield own_platform
    simulator.close()


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


def test_outages_of_kafka_and_a_kill_in_the_middle_of_each_lose_nothing(polled: Platform, own_servers: Servers) -> None:
    speed = polled.start(SPEED)
    ingest = polled.start("ingest")
    polled.progresses(20)
    durable: list[bytes] = []
    for number in range(size(1, 4)):
        said = len(ingest.log)
        if number % 2:
            own_servers.kafka.stop()
        else:
            own_servers.kafka.kill()
        says(ingest, "they wait in", said)
        wait_for(lambda: len(waiting(spool_of(polled))) >= 50, "polls are in the spool")
        durable += waiting(spool_of(polled))
        ingest.kill()
        ingest = polled.start("ingest")
        says(ingest, "of an earlier run are sent first")
        says(ingest, "they wait in")  # it has met the outage itself: a broker that is back before is no return to it
        own_servers.kafka.start(progress=False)
        says(ingest, "Kafka is back")
        polled.progresses(20)
    assert ingest.stop(15) == 0
    polled.catches_up()
    assert speed.stop(10) == 0
    copies = assert_each_poll_is_served_once(polled, durable)
    polled.report(
        f"Kafka away and ingest killed: {len(copies)} observations, {copies.total() - len(copies)} sent twice"
    )


def test_a_spool_that_is_drained_twice_is_served_once(polled: Platform, own_servers: Servers) -> None:
    speed = polled.start(SPEED)
    ingest = polled.start("ingest")
    polled.progresses(20)
    own_servers.kafka.stop()
    wait_for(lambda: len(waiting(spool_of(polled))) >= 50, "polls are in the spool")
    assert ingest.stop(15) == 0
    kept = spool_of(polled).with_name("kept.db")
    shutil.copy(spool_of(polled), kept)
    durable = waiting(kept)
    own_servers.kafka.start(progress=False)
    for _ in range(2):
        shutil.copy(kept, spool_of(polled))  # as if the removal had never reached the disk
        ingest = polled.start("ingest")
        says(ingest, f"{len(durable)} observations of an earlier run are sent first")
        wait_for(lambda: not set(durable) & set(waiting(spool_of(polled))), "they are sent")
        assert ingest.stop(15) == 0
    polled.catches_up()
    assert speed.stop(10) == 0
    copies = assert_each_poll_is_served_once(polled, durable)
    assert all(copies[value] >= 2 for value in durable)
    polled.report(f"the spool drained twice: {len(durable)} observations of {len(copies)} are in the log twice")
