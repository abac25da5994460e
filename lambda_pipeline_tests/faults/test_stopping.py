"""Daemons told to stop: within five seconds, whatever they are waiting for, and at once when told twice."""

import signal
import time

import pytest

from lambda_pipeline_tests.faults.stage import SPEED, Platform, Servers, assert_served_is_produced, frozen
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


@pytest.mark.parametrize("server", ["postgresql", "kafka"])
def test_while_a_server_hangs_it_stops_within_five_seconds(
    own_platform: Platform, own_servers: Servers, server: str
) -> None:
    with own_platform.load(rate=500) as load:
        daemon = own_platform.start(SPEED)
        own_platform.progresses()
        with frozen(own_servers.postgres.pid if server == "postgresql" else own_servers.kafka.pid):
            if server == "postgresql":
                time.sleep(1)  # so that a commit is under way
            seconds = stopped_in(daemon, signal.SIGTERM)
    assert seconds < _STOP_SECONDS
    own_platform.start(SPEED)
    own_platform.catches_up()
    assert_served_is_produced(own_platform, load)
    own_platform.report(f"SIGTERM with {server} frozen: stopped after {seconds:.1f} s")


def test_a_second_signal_stops_it_at_once_and_loses_nothing(platform: Platform) -> None:
    with platform.load(rate=4000) as load:
        daemon = platform.start(SPEED)
        platform.progresses(2000)
        daemon.freeze()  # so that both signals are there when it comes to itself
        daemon.send(signal.SIGTERM)
        daemon.send(signal.SIGINT)
        began = time.monotonic()
        daemon.thaw()
        assert daemon.wait(_STOP_SECONDS) == 1, "a regular end is no stop at once"
        assert time.monotonic() - began < 1
    platform.start(SPEED)
    platform.catches_up()
    assert_served_is_produced(platform, load)
