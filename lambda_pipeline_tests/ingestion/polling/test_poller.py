"""The poller: halves, keys, counters, slots."""

import logging
import threading
from datetime import UTC, timedelta, timezone

import pytest

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.observation import decode, encode
from lambda_pipeline.ingestion.aqicn import AqicnClient, Reading
from lambda_pipeline.ingestion.breaker import NEVER_LEFT_ALONE
from lambda_pipeline.ingestion.http import HttpSession
from lambda_pipeline.ingestion.poller import Poller, workers_for
from lambda_pipeline.ingestion.source_errors import ErrorKind
from lambda_pipeline.ingestion.tomtom import Flow, TomTomClient
from lambda_pipeline_tests.ingestion.polling.sources import (
    FLOW,
    PLACE,
    READING,
    SLOT,
    Clock,
    FakeAqicn,
    FakeTomTom,
    refused,
)
from lambda_pipeline_tests.ingestion.servers import Scripted, ScriptedServer


def test_both_halves(poller: Poller, tomtom: FakeTomTom, aqicn: FakeAqicn) -> None:
    message = poller.poll(PLACE, SLOT)
    assert message is not None
    assert (message.schema_version, message.timestamp, message.location) == (1, SLOT, "Kebon Sirih")
    assert (message.latitude, message.longitude) == (-6.1861, 106.8236)
    assert (message.current_speed, message.free_flow_speed, message.road_closure) == (20.0, 40.0, False)
    assert message.traffic_level == 4  # half of the speed is lost
    assert (message.aqi_value, message.aqi_measured_at, message.dominant_pollutant) == (
        93,
        READING.measured_at,
        "pm25",
    )
    assert (message.pollutants, message.attributions) == ({"pm25": 93.0}, READING.attributions)
    assert decode(encode(message)) == message
    assert (tomtom.asked, aqicn.asked) == ([(-6.1861, 106.8236)], ["A521365"])
    assert poller.counters.snapshot() == {("tomtom", "ok"): 1, ("aqicn", "ok"): 1, ("poll", "publishable"): 1}


def test_the_halves_are_asked_in_parallel(clock: Clock) -> None:
    both = threading.Barrier(2, timeout=10)

    class Meeting:
        def flow(self, latitude: float, longitude: float) -> Flow:
            both.wait()
            return FLOW

        def feed(self, station: str) -> Reading:
            both.wait()
            return READING

    poller = Poller(Meeting(), Meeting(), timedelta(hours=3), clock=clock)
    assert poller.poll(PLACE, SLOT) is not None
    assert not both.broken
    poller.close()


KINDS = [kind for kind in ErrorKind if kind is not ErrorKind.STALE]


@pytest.mark.parametrize("kind", KINDS)
def test_without_tomtom_its_half_is_null(poller: Poller, tomtom: FakeTomTom, kind: ErrorKind) -> None:
    tomtom.answer = refused("tomtom", kind)
    message = poller.poll(PLACE, SLOT)
    assert message is not None
    assert (message.current_speed, message.free_flow_speed, message.road_closure, message.traffic_level) == (None,) * 4
    assert message.aqi_value == 93
    assert poller.counters.snapshot()["tomtom", kind.value] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_without_aqicn_its_half_is_null(poller: Poller, aqicn: FakeAqicn, kind: ErrorKind) -> None:
    aqicn.answer = refused("aqicn", kind)
    message = poller.poll(PLACE, SLOT)
    assert message is not None
    assert (message.aqi_value, message.aqi_measured_at, message.dominant_pollutant) == (None,) * 3
    assert (message.pollutants, message.attributions) == (None, None)
    assert message.traffic_level == 4
    assert poller.counters.snapshot()["aqicn", kind.value] == 1


def test_without_both_there_is_nothing(poller: Poller, tomtom: FakeTomTom, aqicn: FakeAqicn) -> None:
    tomtom.answer = refused("tomtom", ErrorKind.TIMEOUT)
    aqicn.answer = refused("aqicn", ErrorKind.NO_READING)
    assert poller.poll(PLACE, SLOT) is None
    assert poller.counters.snapshot() == {
        ("tomtom", "timeout"): 1,
        ("aqicn", "no_reading"): 1,
        ("poll", "failed"): 1,
    }


def test_a_bug_in_a_half_stays_there_and_shows_no_text(
    poller: Poller, tomtom: FakeTomTom, caplog: pytest.LogCaptureFixture
) -> None:
    tomtom.answer = RuntimeError("https://x/?key=s3cr3t")
    assert poller.poll(PLACE, SLOT) is not None
    assert poller.counters.snapshot()["tomtom", "unexpected"] == 1
    assert "RuntimeError at " in caplog.text
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize(
    ("age", "kind"),
    [
        (timedelta(hours=3), "ok"),
        (timedelta(hours=3, seconds=1), "stale"),
        (timedelta(days=400), "stale"),
        (timedelta(hours=-1), "ok"),
        (timedelta(hours=-1, seconds=-1), "shape"),
    ],
)
def test_a_reading_must_be_of_about_now(poller: Poller, aqicn: FakeAqicn, age: timedelta, kind: str) -> None:
    aqicn.answer = Reading(93, SLOT - age)
    message = poller.poll(PLACE, SLOT)
    assert message is not None
    assert message.aqi_value == (93 if kind == "ok" else None)
    assert poller.counters.snapshot()["aqicn", kind] == 1


def test_a_location_asks_only_what_it_has(poller: Poller, tomtom: FakeTomTom, aqicn: FakeAqicn) -> None:
    road = poller.poll(Location("Road", None, 1.0, 2.0), SLOT)
    assert road is not None
    assert (road.traffic_level, road.aqi_value) == (4, None)
    station = poller.poll(Location("Station", "A1"), SLOT)
    assert station is not None
    assert (station.traffic_level, station.aqi_value, station.latitude) == (None, 93, None)
    assert poller.poll(Location("Neither"), SLOT) is None
    assert (tomtom.asked, aqicn.asked) == ([(1.0, 2.0)], ["A1"])
    assert ("poll", "failed") not in poller.counters.snapshot()


def test_without_a_client_that_half_is_null(tomtom: FakeTomTom, aqicn: FakeAqicn, clock: Clock) -> None:
    only_air = Poller(None, aqicn, timedelta(hours=3), clock=clock)
    message = only_air.poll(PLACE, SLOT)
    assert message is not None
    assert (message.traffic_level, message.aqi_value) == (None, 93)
    assert Poller(None, None, timedelta(hours=3), clock=clock).poll(PLACE, SLOT) is None
    only_air.close()


def test_a_closed_road_is_level_five(poller: Poller, tomtom: FakeTomTom) -> None:
    tomtom.answer = Flow(40.0, 40.0, True)
    message = poller.poll(PLACE, SLOT)
    assert message is not None
    assert (message.traffic_level, message.road_closure) == (5, True)


def test_the_timestamp_is_the_slot_in_utc(poller: Poller) -> None:
    message = poller.poll(PLACE, SLOT.astimezone(timezone(timedelta(hours=7))))
    assert message is not None
    assert message.timestamp.tzinfo is UTC
    assert message.timestamp == SLOT
    for bad in (SLOT.replace(tzinfo=None), SLOT.replace(microsecond=1)):
        with pytest.raises(ValueError, match="slot"):
            poller.poll(PLACE, bad)


def test_a_refused_key_is_said_once_and_asked_again_every_five_minutes(
    poller: Poller, tomtom: FakeTomTom, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tomtom.answer = refused("tomtom", ErrorKind.KEY)
    for minute in range(11):
        clock.time = minute * 60.0
        message = poller.poll(PLACE, SLOT)
        assert message is not None
        assert message.traffic_level is None
    assert len(tomtom.asked) == 3  # at minutes 0, 5 and 10
    assert [record.getMessage() for record in caplog.records if "TOMTOM_API_KEY" in record.getMessage()] == [
        "tomtom refuses the key (HTTP 403): check TOMTOM_API_KEY. Its measures stay empty meanwhile; "
        "it is asked again every 300 s."
    ]
    assert len(caplog.records) == 1
    assert poller.counters.snapshot()["tomtom", "key"] == 11

    tomtom.answer = FLOW
    clock.time += 300
    for _ in range(2):
        message = poller.poll(PLACE, SLOT)
        assert message is not None
        assert message.traffic_level == 4
    assert [record.getMessage() for record in caplog.records][1:] == ["tomtom accepts the key of TOMTOM_API_KEY again."]


def test_each_source_has_its_own_key(
    poller: Poller, tomtom: FakeTomTom, aqicn: FakeAqicn, caplog: pytest.LogCaptureFixture
) -> None:
    tomtom.answer, aqicn.answer = refused("tomtom", ErrorKind.KEY), refused("aqicn", ErrorKind.KEY)
    assert poller.poll(PLACE, SLOT) is None
    assert poller.poll(PLACE, SLOT) is None
    assert [level for _, level, _ in caplog.record_tuples] == [logging.ERROR] * 2
    assert "TOMTOM_API_KEY" in caplog.text
    assert "AQICN_TOKEN" in caplog.text


def test_an_outage_is_one_warning_and_another_one_another(
    tomtom: FakeTomTom, aqicn: FakeAqicn, caplog: pytest.LogCaptureFixture
) -> None:
    poller = Poller(tomtom, aqicn, timedelta(hours=3), breaker=NEVER_LEFT_ALONE)
    places = [PLACE, Location("Krukut", None, 1.0, 2.0)]

    def warnings_of(minutes: int) -> int:
        caplog.clear()
        for place in places:
            poller.poll(place, SLOT + timedelta(minutes=minutes))
        return sum(record.levelno == logging.WARNING for record in caplog.records)

    tomtom.answer = refused("tomtom", ErrorKind.SERVER)
    assert [warnings_of(minutes) for minutes in (0, 6, 12)] == [1, 0, 0]
    tomtom.answer = refused("tomtom", ErrorKind.TIMEOUT)
    assert [warnings_of(minutes) for minutes in (18, 24)] == [1, 0]
    tomtom.answer = FLOW
    assert warnings_of(30) == 0
    tomtom.answer = refused("tomtom", ErrorKind.TIMEOUT)
    assert [warnings_of(minutes) for minutes in (36, 42)] == [1, 0]
    poller.close()


def test_a_wrong_key_over_http_never_shows(
    session: HttpSession, server: ScriptedServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.route = lambda path: (
        Scripted(200, b'{"status": "error", "data": "Invalid key"}') if "/feed/" in path else Scripted(403)
    )
    poller = Poller(
        TomTomClient(session, server.url, "t0mt0m-s3cr3t"),
        AqicnClient(session, server.url, "aq1cn-s3cr3t"),
        timedelta(hours=3),
        clock=clock,
    )
    assert poller.poll(PLACE, SLOT) is None
    assert sum(record.levelno >= logging.ERROR for record in caplog.records) == 2
    assert "s3cr3t" not in caplog.text
    assert all("s3cr3t" not in repr(record.__dict__) for record in caplog.records)
    assert len(server.paths) == 2
    poller.close()


@pytest.mark.parametrize(
    ("locations", "seconds", "workers"), [(0, 60, 8), (10, 360, 8), (30, 1, 15), (10_000, 60, 84), (10_000, 1, 128)]
)
def test_threads_follow_the_rate_within_bounds(locations: int, seconds: int, workers: int) -> None:
    assert workers_for(locations, timedelta(seconds=seconds)) == workers
