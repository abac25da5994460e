"""The poller: halves, keys, counters, slots."""

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.observation import decode, encode
from lambda_pipeline.ingestion.aqicn import AqicnClient, Reading
from lambda_pipeline.ingestion.http import ErrorKind, HttpSession, SourceError
from lambda_pipeline.ingestion.poller import Poller, aligned_slot, default_interval
from lambda_pipeline.ingestion.tomtom import Flow, TomTomClient
from lambda_pipeline_tests.ingestion.servers import Scripted, ScriptedServer

SLOT = datetime(2025, 3, 5, 1, 0, tzinfo=UTC)
PLACE = Location("Kebon Sirih", "A521365", -6.1861, 106.8236)
FLOW = Flow(20.0, 40.0, False)
READING = Reading(93, SLOT - timedelta(minutes=20), "pm25", {"pm25": 93.0}, [{"name": "A", "url": "https://a.example"}])


class Clock:
    def __init__(self) -> None:
        self.time = SLOT

    def __call__(self) -> datetime:
        return self.time


class FakeTomTom:
    def __init__(self) -> None:
        self.answer: Flow | Exception = FLOW
        self.asked: list[tuple[float, float]] = []

    def flow(self, latitude: float, longitude: float) -> Flow:
        self.asked.append((latitude, longitude))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class FakeAqicn:
    def __init__(self) -> None:
        self.answer: Reading | Exception = READING
        self.asked: list[str] = []

    def feed(self, station: str) -> Reading:
        self.asked.append(station)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tomtom() -> FakeTomTom:
    return FakeTomTom()


@pytest.fixture
def aqicn() -> FakeAqicn:
    return FakeAqicn()


@pytest.fixture
def poller(tomtom: FakeTomTom, aqicn: FakeAqicn, clock: Clock) -> Iterator[Poller]:
    made = Poller(tomtom, aqicn, timedelta(hours=3), clock)
    yield made
    made.close()


def refused(source: str, kind: ErrorKind) -> SourceError:
    return SourceError(source, kind, "HTTP 403")


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

    poller = Poller(Meeting(), Meeting(), timedelta(hours=3), clock)
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


def test_a_half_that_never_ends_is_given_up(aqicn: FakeAqicn, clock: Clock) -> None:
    release = threading.Event()

    class Hanging:
        def flow(self, latitude: float, longitude: float) -> Flow:
            release.wait(30)
            return FLOW

    poller = Poller(Hanging(), aqicn, timedelta(hours=3), clock, half_timeout=0.05)
    message = poller.poll(PLACE, SLOT)
    release.set()
    assert message is not None
    assert message.current_speed is None
    assert poller.counters.snapshot()["tomtom", "timeout"] == 1
    poller.close()


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
    only_air = Poller(None, aqicn, timedelta(hours=3), clock)
    message = only_air.poll(PLACE, SLOT)
    assert message is not None
    assert (message.traffic_level, message.aqi_value) == (None, 93)
    assert Poller(None, None, timedelta(hours=3), clock).poll(PLACE, SLOT) is None
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
        clock.time = SLOT + timedelta(minutes=minute)
        message = poller.poll(PLACE, SLOT)
        assert message is not None
        assert message.traffic_level is None
    assert len(tomtom.asked) == 3  # at minutes 0, 5 and 10
    assert [record.getMessage() for record in caplog.records if "TOMTOM_API_KEY" in record.getMessage()] == [
        "tomtom refuses the key (HTTP 403): check TOMTOM_API_KEY. Its measures stay empty meanwhile; "
        "it is asked again every 0:05:00."
    ]
    assert len(caplog.records) == 1
    assert poller.counters.snapshot()["tomtom", "key"] == 11

    tomtom.answer = FLOW
    clock.time += timedelta(minutes=5)
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
    poller: Poller, tomtom: FakeTomTom, caplog: pytest.LogCaptureFixture
) -> None:
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
        clock,
    )
    assert poller.poll(PLACE, SLOT) is None
    assert sum(record.levelno >= logging.ERROR for record in caplog.records) == 2
    assert "s3cr3t" not in caplog.text
    assert all("s3cr3t" not in repr(record.__dict__) for record in caplog.records)
    assert len(server.paths) == 2
    poller.close()


@pytest.mark.parametrize(
    ("now", "minutes", "slot"),
    [
        ("2025-03-05T01:00:00+00:00", 6, "2025-03-05T01:00:00+00:00"),
        ("2025-03-05T01:05:59.999999+00:00", 6, "2025-03-05T01:00:00+00:00"),
        ("2025-03-05T08:06:00+07:00", 6, "2025-03-05T01:06:00+00:00"),
        ("1969-12-31T23:59:00+00:00", 6, "1969-12-31T23:54:00+00:00"),
    ],
)
def test_aligned_slot(now: str, minutes: int, slot: str) -> None:
    aligned = aligned_slot(datetime.fromisoformat(now), timedelta(minutes=minutes))
    assert aligned.isoformat() == slot


def test_aligned_slot_refuses_what_has_none() -> None:
    for interval in (timedelta(0), timedelta(seconds=-60), timedelta(seconds=0.5)):
        with pytest.raises(ValueError, match="interval"):
            aligned_slot(SLOT, interval)
    with pytest.raises(ValueError, match="aware"):
        aligned_slot(SLOT.replace(tzinfo=None), timedelta(minutes=1))


@pytest.mark.parametrize(
    ("locations", "minutes"), [(0, 1), (1, 1), (2, 2), (10, 6), (12, 7), (100, 58), (2500, 1440), (2501, 2880)]
)
def test_default_interval(locations: int, minutes: int) -> None:
    assert default_interval(locations) == timedelta(minutes=minutes)


@pytest.mark.parametrize("locations", range(1, 2600, 37))
def test_the_default_interval_keeps_any_24_hours_within_the_quota(locations: int) -> None:
    interval = default_interval(locations)
    most = -(timedelta(days=1) // -interval)
    assert most * locations <= 2500 or interval >= timedelta(days=2)


def test_a_quota_is_positive() -> None:
    with pytest.raises(ValueError, match="quota"):
        default_interval(10, 0)
