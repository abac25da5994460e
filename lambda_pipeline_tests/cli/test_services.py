"""What `ingest` makes of the settings: the interval, the quotas, the pace; and how a daemon waits for its servers."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest
import typer

from lambda_pipeline.cli import common
from lambda_pipeline.cli.services import make_ledger, make_poller, poll_interval
from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.errors import BrokerUnavailableError, DatabaseUnavailableError, SchemaError
from lambda_pipeline.monitoring.pulse import Pulse
from lambda_pipeline.settings import Settings, load_settings


def settings_of(tmp_path: Path, **more: object) -> Settings:
    return load_settings(None, LAMBDA_HOME=tmp_path, TOMTOM_API_KEY="k", AQICN_TOKEN="t", **more)


def city_of(roads: int, stations: int) -> City:
    places = [Location(f"road {number}", None, 1.0, 2.0) for number in range(roads)]
    places += [Location(f"station {number}", "A1") for number in range(stations)]
    return City("City", "UTC", locations=tuple(places))


@pytest.mark.parametrize(
    ("roads", "stations", "more", "minutes"),
    [
        (10, 10, {}, 6),
        (10, 500, {}, 6),
        (0, 500, {}, 1),
        (10, 10, {"LAMBDA_TOMTOM_DAILY_QUOTA": 50_000}, 1),
        (10, 10, {"LAMBDA_AQICN_DAILY_QUOTA": 240}, 60),
        (10, 10, {"LAMBDA_POLL_INTERVAL": 120}, 2),
        (5000, 0, {}, 2 * 24 * 60),
    ],
)
def test_the_interval_follows_from_catalogue_and_quotas_unless_it_is_set(
    tmp_path: Path, roads: int, stations: int, more: dict[str, object], minutes: int
) -> None:
    assert poll_interval(settings_of(tmp_path, **more), city_of(roads, stations)) == timedelta(minutes=minutes)


def test_every_default_interval_can_be_handed_on_as_a_setting(tmp_path: Path) -> None:
    interval = poll_interval(settings_of(tmp_path), city_of(50_000, 0))
    handed = settings_of(tmp_path, LAMBDA_POLL_INTERVAL=int(interval.total_seconds()))
    assert handed.poll_interval == interval


def test_the_quota_is_remembered_in_the_data_folder(tmp_path: Path) -> None:
    ledger = make_ledger(settings_of(tmp_path), is_simulated=False)
    assert ledger.spend("tomtom")
    ledger.close()
    assert (tmp_path / "ingest" / "quota.json").is_file()
    used = make_ledger(settings_of(tmp_path), is_simulated=False).used()["tomtom"]
    assert (used.used, used.limit) == (1, 2500)


def test_the_simulator_has_no_quota(tmp_path: Path) -> None:
    ledger = make_ledger(settings_of(tmp_path), is_simulated=True)
    assert all(ledger.spend("tomtom") for _ in range(3000))


def test_with_its_quota_used_up_an_api_is_not_asked(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, LAMBDA_TOMTOM_DAILY_QUOTA=1, LAMBDA_TOMTOM_URL="http://127.0.0.1:9")
    ledger = make_ledger(settings, is_simulated=False)
    assert ledger.spend("tomtom")
    poller = make_poller(settings, ledger, timedelta(minutes=6), threading.Event())
    slot = timedelta(minutes=6)
    assert poller.poll(Location("Road", None, 1.0, 2.0), settings.city.clock().parse("2025-03-05") + slot) is None
    assert poller.counters.snapshot() == {("tomtom", "quota"): 1, ("missed", "quota"): 1}
    poller.close()


# ---------------------------------------------------------------- waiting for servers


class Waits(threading.Event):
    """A stop that counts the seconds instead of waiting, and is set after so many waits."""

    def __init__(self, most: int = 100) -> None:
        super().__init__()
        self.most = most
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        if len(self.seconds) >= self.most:
            self.set()
        return self.is_set()


def test_a_daemon_waits_for_its_servers_ever_longer_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = [BrokerUnavailableError("Kafka is away.")] * 3
    failures += [DatabaseUnavailableError("PostgreSQL is away.")] * 3

    def attempt() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    stop = Waits()
    assert common.persist(attempt, stop) == "done"
    assert stop.seconds == [0.5, 1, 2, 4, 5, 5]
    assert [line.getMessage() for line in caplog.records][2:4] == [
        "waiting 2.0 s: Kafka is away.", "waiting 4.0 s: PostgreSQL is away."
    ]  # fmt: skip


def test_what_a_daemon_waits_for_shows_in_its_health() -> None:
    pulse, seen = Pulse(), []

    def attempt() -> None:
        seen.append(pulse.health())
        if len(seen) < 3:
            raise DatabaseUnavailableError("PostgreSQL is away.")

    common.persist(attempt, Waits(), pulse)
    assert [health.status for health in seen] == ["starting", "waiting", "waiting"]
    assert seen[-1].reason == "PostgreSQL is away."


def test_a_daemon_that_waits_for_its_servers_can_be_told_to_stop() -> None:
    def attempt() -> None:
        raise BrokerUnavailableError("Kafka is away.")

    with pytest.raises(typer.Exit) as ended:
        common.persist(attempt, Waits(3))
    assert ended.value.exit_code == 0


def test_what_waiting_does_not_mend_ends_a_daemon() -> None:
    def attempt() -> None:
        raise SchemaError("the schema is old.")

    with pytest.raises(SchemaError):
        common.persist(attempt, Waits())
