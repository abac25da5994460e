"""PostgreSQL and Kafka restarted, killed and away under load."""

import time

import pytest
from kafka import KafkaAdminClient

from lambda_pipeline_tests.faults.stage import SPEED, Platform, Servers, assert_served_is_produced, size
from lambda_pipeline_tests.processes import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(1200)]
_MEMORY = 300 * 1024 * 1024


@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_postgresql_goes_and_comes_back(own_platform: Platform, own_servers: Servers, how: str) -> None:
    rounds, waits = size(2, 10), []
    daemon = own_platform.start(SPEED)
    with own_platform.load() as load:
        for _ in range(rounds):
            own_platform.progresses(300)
            if how == "killed":
                own_servers.postgres.kill()
            else:
                own_servers.postgres.stop()
            own_servers.postgres.start()
            waits.append(own_platform.progresses())
    own_platform.catches_up()
    assert_served_is_produced(own_platform, load)
    assert daemon.stop(10) == 0
    own_platform.recovered(f"PostgreSQL {how} under load", *waits)


def test_while_postgresql_is_away_the_daemon_stays_a_member_and_small(
    own_platform: Platform, own_servers: Servers
) -> None:
    away = size(15, 60)
    daemon = own_platform.start(SPEED, LAMBDA_SPEED_MAX_RECORDS="30000")
    with own_platform.load(rate=4000) as load:
        own_platform.progresses(300)
        own_servers.postgres.stop()
        until = time.monotonic() + away
        members = []
        admin = KafkaAdminClient(**own_platform.connection.client_settings("admin"))
        while time.monotonic() < until:
            members.append(len(admin.describe_groups([own_platform.topic])[own_platform.topic]["members"]))
            assert daemon.memory() < _MEMORY
            time.sleep(0.5)
        admin.close()
        assert daemon.alive
        own_servers.postgres.start()
        seconds = own_platform.progresses()
    own_platform.catches_up()
    assert set(members) == {1}
    assert daemon.memory() < _MEMORY
    assert_served_is_produced(own_platform, load)
    own_platform.recovered(f"PostgreSQL away for {away} s", seconds)
    own_platform.report(f"speed while PostgreSQL was away for {away} s: {daemon.memory() / 2**20:.0f} MiB")


def test_a_daemon_that_starts_while_its_servers_are_away_waits_for_them(
    own_platform: Platform, own_servers: Servers
) -> None:
    own_servers.postgres.stop()
    own_servers.kafka.stop()
    speed = own_platform.start(SPEED)
    nowhere = dict.fromkeys(("LAMBDA_TOMTOM_URL", "LAMBDA_AQICN_URL"), "http://127.0.0.1:9")
    ingest = own_platform.start("ingest", TOMTOM_API_KEY="k", AQICN_TOKEN="t", **nowhere)
    for daemon in (speed, ingest):
        wait_for(lambda daemon=daemon: "PostgreSQL is not answering" in daemon.log, f"{daemon.name} waits")
    own_servers.postgres.start()
    wait_for(lambda: "Kafka at" in speed.log, "speed waits for Kafka, too")
    wait_for(lambda: "polling 10 locations" in ingest.log, "ingest does not")
    assert ingest.stop(10) == 0
    own_servers.kafka.start(progress=False)
    wait_for(lambda: "going on at" in speed.log, "speed goes on")
    own_servers.kafka.stop()
    assert speed.stop(10) == 0


def test_a_daemon_that_waits_for_its_servers_stops_when_told(own_platform: Platform, own_servers: Servers) -> None:
    own_servers.postgres.stop()
    daemon = own_platform.start(SPEED)
    wait_for(lambda: "PostgreSQL is not answering" in daemon.log, "it waits")
    began = time.monotonic()
    assert daemon.stop(10) == 0
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_kafka_goes_and_comes_back(own_platform: Platform, own_servers: Servers, how: str) -> None:
    rounds, waits = size(1, 5), []
    daemon = own_platform.start(SPEED)
    with own_platform.load() as load:
        for _ in range(rounds):
            own_platform.progresses(300)
            if how == "killed":
                own_servers.kafka.kill()
            else:
                own_servers.kafka.stop()
            own_servers.kafka.start(progress=False)
            before = load.sent
            wait_for(lambda before=before: load.sent > before + 100, "the load goes on")
            waits.append(own_platform.progresses())
    own_platform.catches_up()
    assert_served_is_produced(own_platform, load)
    assert daemon.stop(10) == 0
    own_platform.recovered(f"Kafka {how} under load", *waits)
