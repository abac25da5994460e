"""Speed daemons killed, frozen, joining and leaving under load."""

import signal
import time
from functools import partial

import pytest
import sqlalchemy as sa
from kafka import KafkaProducer

from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.faults.load import Load
from lambda_pipeline_tests.faults.stage import SPEED, Platform, assert_served_is_produced, size
from lambda_pipeline_tests.processes import Daemon, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(1200)]
_SESSION_IN_COMMIT = (
    "select a.pid from pg_stat_activity a join pg_locks l using (pid) where a.application_name = :name "
    "and l.locktype = 'advisory' and l.mode = 'ShareLock' and l.granted"
)


def test_killed_again_and_again_under_load(platform: Platform) -> None:
    kills = size(5, 50)
    waits = []
    with platform.load() as load:
        for _ in range(kills):
            daemon = platform.start(SPEED)
            waits.append(platform.progresses(platform.rng.randrange(1, 1500)))
            daemon.send(signal.SIGKILL)
            daemon.wait(10)
    platform.start(SPEED)
    last = platform.catches_up()
    assert_served_is_produced(platform, load)
    platform.recovered("speed killed under load", *waits)
    platform.report(f"speed killed {kills} times: {load.sent} records, caught up after {last:.1f} s")


def test_three_consumers_join_and_leave_under_load(platform: Platform) -> None:
    steps = size(6, 30)
    running = [platform.start(SPEED)]
    with platform.load() as load:
        for _ in range(steps):
            if len(running) == 3 or (len(running) > 1 and platform.rng.random() < 0.5):
                leaver = running.pop(platform.rng.randrange(len(running)))
                wait_for(partial(_has_begun, leaver), "it consumes")
                if platform.rng.random() < 0.5:
                    assert leaver.stop(10) == 0
                else:
                    leaver.kill()
            else:
                running.append(platform.start(SPEED))
            platform.progresses(500)
    seconds = platform.catches_up()
    assert_served_is_produced(platform, load)
    platform.report(f"three consumers, {steps} joins and leaves: {load.sent} records, caught up after {seconds:.1f} s")


def _has_begun(daemon: Daemon) -> bool:
    return "consuming" in daemon.log


def freeze_in_commit(platform: Platform, daemon: Daemon) -> None:
    """Stop the daemon while its transaction holds the publish lock."""
    wait_for(lambda: _is_frozen_in_commit(platform, daemon), "the daemon is frozen inside its commit", interval=0)


def _is_frozen_in_commit(platform: Platform, daemon: Daemon) -> bool:
    if not _commits(platform):
        return False
    daemon.freeze()
    stays = time.monotonic() + 0.5  # a statement under way ends by itself; the transaction does not
    while time.monotonic() < stays:
        if not _commits(platform):
            daemon.thaw()
            return False
    return True


def _commits(platform: Platform) -> bool:
    return bool(platform.rows(_SESSION_IN_COMMIT, name="lambda-pipeline speed"))


def test_frozen_inside_its_commit_it_does_not_stop_another_nor_a_publish(platform: Platform) -> None:
    load = platform.load()
    load.send(20_000)
    frozen = platform.start(SPEED)
    platform.progresses()
    freeze_in_commit(platform, frozen)
    other = platform.start(SPEED)
    began = time.monotonic()
    platform.run(*platform.backfill())
    published = time.monotonic() - began
    load.send(500)
    # The frozen one is a member until its session is over; then the other has all partitions.
    consumed = platform.catches_up()
    assert platform.rows("select count(*) as n from published_hours")[0].n > 0
    assert_served_is_produced(platform, load)
    frozen.thaw()
    load.send(500)
    platform.catches_up()
    platform.run(*platform.backfill())
    assert_served_is_produced(platform, load)
    assert (frozen.stop(10), other.stop(10)) == (0, 0)
    platform.report(
        f"frozen inside its commit: a publish beside it took {published:.1f} s, the other daemon had all "
        f"{consumed:.1f} s later"
    )


def test_frozen_past_its_session_and_thawed_its_late_commit_is_refused(platform: Platform) -> None:
    load = platform.load()
    load.send(20_000)
    late = platform.start(SPEED)
    platform.progresses()
    freeze_in_commit(platform, late)
    platform.start(SPEED)
    seconds = platform.catches_up()
    late.thaw()
    wait_for(lambda: "was already consumed by another consumer" in late.log, "the late commit is refused")
    load.send(2_000)
    platform.catches_up()
    assert_served_is_produced(platform, load)
    platform.recovered("speed frozen past its session, until another had its partitions", seconds)


def test_replayed_from_offset_zero_nothing_counts_twice(platform: Platform) -> None:
    load = platform.load()
    load.send(3_000)
    daemon = platform.start(SPEED)
    platform.catches_up()
    platform.run(*platform.backfill())
    load.send(1_000)
    platform.catches_up()
    assert daemon.stop(10) == 0
    _forget_offsets(platform)
    platform.start(SPEED)
    platform.catches_up()
    assert_served_is_produced(platform, load)


def _forget_offsets(platform: Platform) -> None:
    with transaction(platform.engine) as database:
        database.execute(sa.text("update stream_offsets set next_offset = 0"))


def test_the_same_observations_in_another_partition_count_once(platform: Platform) -> None:
    load = platform.load()
    load.send(2_000)
    twice(load)
    for _ in range(2):
        platform.start(SPEED)
    platform.catches_up()
    assert platform.rows("select count(*) as n from served_observations")[0].n == len(load.expected().observations)
    sums = platform.rows("select sum(data_points_count) as n from served_hourly")[0].n
    assert sums == len(load.expected().observations)


def twice(load: Load) -> None:
    """Produce every value once more, to whichever partition comes."""
    producer = KafkaProducer(**load.connection.client_settings("again"), acks="all")
    for number, value in enumerate(load.meaning):
        producer.send(load.topic, value, partition=number % 4)
    producer.flush(60)
    producer.close()
