"""Ingest through an outage of Kafka, killed in the middle of it: what was polled is served, once."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
import pytest

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.simulator import serve
from lambda_pipeline_tests.faults.conftest import Servers
from lambda_pipeline_tests.faults.load import read_log
from lambda_pipeline_tests.faults.stage import SEED, SPEED, Platform, size
from lambda_pipeline_tests.processes import Daemon, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(900)]


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


def test_an_outage_of_kafka_and_a_kill_in_the_middle_of_it_lose_nothing(polled: Platform, own_servers: Servers) -> None:
    speed = polled.start(SPEED)
    ingest = polled.start("ingest")
    polled.progresses(20)
    for _ in range(size(1, 4)):
        said = len(ingest.log)
        own_servers.kafka.stop()
        says(ingest, "they wait in", said)
        began = polled.rows("select now() as moment")[0].moment
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

    copies = Counter(
        (message["location"], datetime.fromisoformat(message["timestamp"]))
        for _, _, value in read_log(polled.connection, polled.topic)
        if (message := msgspec.json.decode(value or b"{}"))
    )
    served = [
        (row.location, row.timestamp) for row in polled.rows("select location, timestamp from served_observations")
    ]
    assert len(served) == len(set(served))
    assert set(served) == copies.keys()
    during = {moment for _, moment in copies if began - timedelta(seconds=15) <= moment <= began}
    assert len(during) >= 10, "what was polled while Kafka was away is missing"
    polled.report(
        f"Kafka away and ingest killed: {len(copies)} observations, {copies.total() - len(copies)} sent twice"
    )
