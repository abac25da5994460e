"""PostgreSQL and Kafka that stop answering without going away (SIGSTOP), under load, and come to themselves again."""

import time

import pytest

from lambda_pipeline_tests.faults.polling import assert_each_poll_is_served_once, spool_of, waiting
from lambda_pipeline_tests.faults.stage import (
    FULL,
    SPEED,
    Platform,
    Servers,
    assert_served_is_produced,
    frozen,
)
from lambda_pipeline_tests.processes import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(1200)]
# Past the client's time-outs, past a transaction's, and past what the broker allows itself to be away.
_SECONDS = (3, 15, 75) if FULL else (4,)


@pytest.mark.parametrize("which", ["PostgreSQL", "Kafka"])
def test_frozen_under_load_and_thawed(own_platform: Platform, own_servers: Servers, which: str) -> None:
    server = own_servers.postgres if which == "PostgreSQL" else own_servers.kafka
    daemons = [own_platform.start(SPEED) for _ in range(2)]
    with own_platform.load(rate=800) as load:
        for seconds in _SECONDS:
            own_platform.progresses(300)
            with frozen(server.pid):
                time.sleep(seconds)  # there is nothing to wait for: the fault is that nothing happens
                assert all(daemon.alive for daemon in daemons)
            own_platform.recovered(f"{which} frozen for {seconds} s under load", own_platform.progresses(300))
    own_platform.catches_up()
    assert_served_is_produced(own_platform, load)
    memory = max(daemon.memory() for daemon in daemons) >> 20
    own_platform.report(f"speed after {which} was frozen: {memory} MiB")
    assert memory < 300
    assert [daemon.stop(10) for daemon in daemons] == [0, 0]


@pytest.mark.full
def test_while_kafka_is_frozen_ingest_spools_and_what_it_polled_is_served(
    polled: Platform, own_servers: Servers
) -> None:
    polled.start(SPEED)
    ingest = polled.start("ingest")
    polled.progresses(20)
    with frozen(own_servers.kafka.pid):
        wait_for(lambda: len(waiting(spool_of(polled))) >= 60, "polls are in the spool")
        durable = waiting(spool_of(polled))
    seconds = wait_for(lambda: not set(durable) & set(waiting(spool_of(polled))), "they are sent")
    polled.progresses(20)
    assert ingest.stop(15) == 0
    polled.catches_up()
    assert_each_poll_is_served_once(polled, durable)
    polled.recovered("Kafka frozen, until ingest's spool was sent", seconds)
