"""What `ingest` makes of the settings: the interval, the quotas, the pace."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from lambda_pipeline.cli.services import make_ledger, make_poller, poll_interval
from lambda_pipeline.domain.catalogue import City, Location
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
