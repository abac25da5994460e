"""Daemons told to stop: within five seconds, whatever they are waiting for, and at once when told twice."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lambda_pipeline_tests.faults.conftest import Servers
from lambda_pipeline_tests.faults.stage import SPEED, Platform, assert_served_is_produced
from lambda_pipeline_tests.processes import Daemon, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(600)]
_STOP_SECONDS = 5.0


def stopped_in(daemon: Daemon, number: signal.Signals) -> float:
    """Seconds from the signal to a regular end."""
    began = time.monotonic()
    assert daemon.stop(30, number) == 0, daemon.log[-2000:]
    return time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_under_load_it_stops_within_five_seconds_and_nothing_is_lost(
    platform: Platform, number: signal.Signals
) -> None:
    with platform.load(rate=4000) as load:
        daemon = platform.start(SPEED)
        platform.progresses(2000)
        seconds = stopped_in(daemon, number)
    assert seconds < _STOP_SECONDS
    platform.start(SPEED)
    platform.catches_up()
    assert_served_is_produced(platform, load)
    platform.report(f"{number.name} under load: stopped after {seconds:.1f} s")


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that does not answer, for as long as a block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("away", ["postgresql", "kafka"])
def test_while_a_server_is_gone_it_stops_within_five_seconds(
    own_platform: Platform, own_servers: Servers, away: str
) -> None:
    with own_platform.load() as load:
        daemon = own_platform.start(SPEED)
        own_platform.progresses(300)
        server = own_servers.postgres if away == "postgresql" else own_servers.kafka
        server.stop()
        if away == "postgresql":
            wait_for(lambda: "waiting" in daemon.log, "the daemon waits for PostgreSQL")
        seconds = stopped_in(daemon, signal.SIGTERM)
        own_servers.heal()
    assert seconds < _STOP_SECONDS
    own_platform.start(SPEED)
    own_platform.catches_up()
    assert_served_is_produced(own_platform, load)
    own_platform.report(f"SIGTERM with {away} gone: stopped after {seconds:.1f} s")


def test_while_kafka_hangs_it_stops_within_five_seconds(own_platform: Platform, own_servers: Servers) -> None:
    daemon = own_platform.start(SPEED)
    load = own_platform.load()
    load.send(2_000)
    own_platform.progresses()
    pid = own_servers.kafka.pid
    assert pid
    with frozen(pid):
        seconds = stopped_in(daemon, signal.SIGTERM)
    assert seconds < _STOP_SECONDS
    own_platform.report(f"SIGTERM with Kafka frozen: stopped after {seconds:.1f} s")


def test_a_second_signal_stops_it_at_once_and_loses_nothing(platform: Platform) -> None:
    with platform.load(rate=4000) as load:
        daemon = platform.start(SPEED)
        platform.progresses(2000)
        daemon.freeze()  # so that both signals are there when it comes to itself
        daemon.send(signal.SIGTERM)
        daemon.send(signal.SIGINT)
        daemon.thaw()
        daemon.wait(_STOP_SECONDS)
    platform.start(SPEED)
    platform.catches_up()
    assert_served_is_produced(platform, load)
