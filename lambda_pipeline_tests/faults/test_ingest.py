"""Ingest killed, also in the middle of outages of Kafka: what was polled is served, once, as it was polled."""

import shutil
import signal

import pytest

from lambda_pipeline_tests.faults.polling import assert_each_poll_is_served_once, says, spool_of, waiting
from lambda_pipeline_tests.faults.stage import SPEED, Platform, Servers, size
from lambda_pipeline_tests.processes import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(900)]


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


def test_killed_at_random_moments_what_was_durable_is_served_and_once(polled: Platform) -> None:
    speed, durable, waits = polled.start(SPEED), [], []
    for _ in range(size(2, 25)):
        ingest = polled.start("ingest")
        waits.append(polled.progresses(polled.rng.randrange(1, 40)))
        ingest.send(signal.SIGKILL)
        ingest.wait(10)
        durable += waiting(spool_of(polled))
    ingest = polled.start("ingest")
    polled.progresses(20)
    assert ingest.stop(15) == 0
    polled.catches_up()
    assert speed.stop(10) == 0
    assert_each_poll_is_served_once(polled, durable)
    polled.recovered("ingest killed, until what it polls next is served", *waits)
