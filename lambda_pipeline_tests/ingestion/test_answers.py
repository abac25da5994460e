"""What each answer of the two APIs is counted as, through the poller and over real HTTP: one table per API.

Each row also says what the answer is to the breaker: after it the API is still asked, or left alone because it said
so or because its key is refused.
"""

import gzip
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.ingestion.aqicn import AqicnClient
from lambda_pipeline.ingestion.http import HttpPolicy, create_session
from lambda_pipeline.ingestion.poller import Poller
from lambda_pipeline.ingestion.tomtom import TomTomClient
from lambda_pipeline_tests.ingestion.servers import Scripted, ScriptedServer

MEASURED = datetime(2023, 8, 7, 15, tzinfo=UTC)  # when the recorded reading was
SLOT = MEASURED + timedelta(minutes=30)
PLACE = Location("Kebon Sirih", "A521365", -6.1861, 106.8236)
SECRET = "s3cr3t"
ASKED, OPEN, KEY = "asked", "open", "key"

Recorded = Callable[[str], bytes]
Row = tuple[Scripted, str, str]


def fine(flow: bool) -> Scripted:
    if flow:
        return Scripted(body=b'{"flowSegmentData": {"currentSpeed": 16, "freeFlowSpeed": 25, "roadClosure": false}}')
    return Scripted(body=b'{"status": "ok", "data": {"aqi": 29, "time": {"iso": "2023-08-07T17:00:00+02:00"}}}')


# What either API can answer, or not.
EITHER: dict[str, Row] = {
    "connection closed": (Scripted(drop=True), "network", ASKED),
    "connection reset": (Scripted(reset=True), "network", ASKED),
    "body cut off": (Scripted(body=b'{"a": "' + b"x" * 1000, cut=True), "network", ASKED),
    "hangs": (Scripted(hang=True), "timeout", ASKED),
    "trickles": (Scripted(body=b"x" * 500, trickle=True), "timeout", ASKED),
    "401": (Scripted(401), "key", KEY),
    "403": (Scripted(403, b"<h1>Developer Inactive</h1>"), "key", KEY),
    "429": (Scripted(429), "rate_limited", ASKED),
    "429, seconds": (Scripted(429, headers={"Retry-After": "90"}), "rate_limited", OPEN),
    "429, date": (
        Scripted(429, headers={"Retry-After": format_datetime(datetime(2099, 1, 1, tzinfo=UTC), usegmt=True)}),
        "rate_limited",
        OPEN,
    ),
    "500": (Scripted(500), "server", ASKED),
    "502, page": (Scripted(502, b"<html>"), "server", ASKED),
    "503, seconds": (Scripted(503, headers={"Retry-After": "60"}), "server", OPEN),
    "404": (Scripted(404), "http", ASKED),
    "redirect": (Scripted(302, b"", {"Location": "http://127.0.0.1:9/"}), "http", ASKED),
    "page": (Scripted(body=b"<!doctype html><title>Back soon</title>"), "not_json", ASKED),
    "empty": (Scripted(body=b""), "not_json", ASKED),
    "half": (Scripted(body=b'{"flowSegmentData": {'), "not_json", ASKED),
    "not an object": (Scripted(body=b"[]"), "shape", ASKED),
    "too large, announced": (Scripted(body=b'"' + b"x" * 1_000_000 + b'"'), "too_large", ASKED),
    "too large, unannounced": (
        Scripted(body=b'"' + b"x" * 1_000_000 + b'"', headers={"Content-Length": ""}),
        "too_large",
        ASKED,
    ),
    "too large, compressed": (
        Scripted(body=gzip.compress(b"x" * 50_000_000), headers={"Content-Encoding": "gzip"}),
        "too_large",
        ASKED,
    ),
}
TOMTOM: dict[str, Row] = EITHER | {
    "fine": (fine(True), "ok", ASKED),
    "nothing in it": (Scripted(body=b"{}"), "shape", ASKED),
    "speed as a string": (
        Scripted(body=b'{"flowSegmentData": {"currentSpeed": "16", "freeFlowSpeed": 25}}'),
        "shape",
        ASKED,
    ),
    "400": (Scripted(400, b'{"error": "Invalid point", "httpStatusCode": 400}'), "http", ASKED),
}
AQICN: dict[str, Row] = EITHER | {
    "fine": (fine(False), "ok", ASKED),
    "nothing in it": (Scripted(body=b'{"status": "ok"}'), "shape", ASKED),
    "stale": (
        Scripted(body=b'{"status": "ok", "data": {"aqi": 29, "time": {"iso": "2023-08-07T13:59:00+02:00"}}}'),
        "stale",
        ASKED,
    ),
    "ahead": (
        Scripted(body=b'{"status": "ok", "data": {"aqi": 29, "time": {"iso": "2023-08-07T19:00:00+02:00"}}}'),
        "shape",
        ASKED,
    ),
    "unknown text": (Scripted(body=b'{"status": "error", "data": "something new s3cr3t"}'), "http", ASKED),
    "no text": (Scripted(body=b'{"status": "error"}'), "http", ASKED),
}
# The recorded ones: file, status, kind, breaker.
TOMTOM_RECORDED = [
    ("flow_congested.json", 200, "ok", ASKED),
    ("flow_free.json", 200, "ok", ASKED),
    ("error_400_too_far.json", 400, "too_far", ASKED),
]
AQICN_RECORDED = [
    ("feed_ok.json", 200, "ok", ASKED),
    ("feed_no_aqi.json", 200, "no_reading", ASKED),
    ("error_invalid_key.json", 200, "key", KEY),
    ("error_over_quota.json", 200, "rate_limited", ASKED),
    ("error_unknown_station.json", 200, "no_station", ASKED),
]


@pytest.fixture
def other() -> Iterator[ScriptedServer]:
    """The API that is well."""
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


def make_poller(tomtom: ScriptedServer, aqicn: ScriptedServer) -> Poller:
    policy = HttpPolicy(read_timeout=0.5, total_time=1.0, attempts=2, backoff=0.0)
    session = create_session(policy)
    return Poller(
        TomTomClient(session, tomtom.url, SECRET), AqicnClient(session, aqicn.url, SECRET), timedelta(hours=3)
    )


def check_tomtom(server: ScriptedServer, other: ScriptedServer, row: Row) -> None:
    answer, kind, afterwards = row
    server.script, other.script = [answer], [fine(False)]
    poller = make_poller(server, other)
    message = poller.poll(PLACE, SLOT)
    assert message is not None
    assert message.aqi_value == 29
    assert (message.current_speed is not None) == (kind == "ok")
    assert poller.counters.snapshot() == {("tomtom", kind): 1, ("aqicn", "ok"): 1, ("poll", "publishable"): 1}
    server.script = [fine(True)]
    poller.poll(PLACE, SLOT)
    assert poller.counters.snapshot().get(("tomtom", "ok"), 0) == (kind == "ok") + (afterwards == ASKED)
    assert afterwards == ASKED or poller.counters.snapshot()["tomtom", afterwards] >= 1
    poller.close()


def check_aqicn(server: ScriptedServer, other: ScriptedServer, row: Row) -> None:
    answer, kind, afterwards = row
    server.script, other.script = [answer], [fine(True)]
    poller = make_poller(other, server)
    message = poller.poll(PLACE, SLOT)
    assert message is not None
    assert message.current_speed == 16
    assert (message.aqi_value is not None) == (kind == "ok")
    assert poller.counters.snapshot() == {("aqicn", kind): 1, ("tomtom", "ok"): 1, ("poll", "publishable"): 1}
    server.script = [fine(False)]
    poller.poll(PLACE, SLOT)
    assert poller.counters.snapshot().get(("aqicn", "ok"), 0) == (kind == "ok") + (afterwards == ASKED)
    assert afterwards == ASKED or poller.counters.snapshot()["aqicn", afterwards] >= 1
    poller.close()


@pytest.mark.parametrize("name", TOMTOM)
def test_what_an_answer_of_tomtom_is_counted_as(
    server: ScriptedServer, other: ScriptedServer, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    check_tomtom(server, other, TOMTOM[name])
    assert SECRET not in caplog.text


@pytest.mark.parametrize("name", AQICN)
def test_what_an_answer_of_aqicn_is_counted_as(
    server: ScriptedServer, other: ScriptedServer, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    check_aqicn(server, other, AQICN[name])
    assert SECRET not in caplog.text


@pytest.mark.parametrize(("file", "status", "kind", "afterwards"), TOMTOM_RECORDED)
def test_what_a_recorded_answer_of_tomtom_is_counted_as(
    real_data: Path, server: ScriptedServer, other: ScriptedServer, file: str, status: int, kind: str, afterwards: str
) -> None:
    body = (real_data / "tomtom" / file).read_bytes()
    check_tomtom(server, other, (Scripted(status, body), kind, afterwards))


@pytest.mark.parametrize(("file", "status", "kind", "afterwards"), AQICN_RECORDED)
def test_what_a_recorded_answer_of_aqicn_is_counted_as(
    real_data: Path, server: ScriptedServer, other: ScriptedServer, file: str, status: int, kind: str, afterwards: str
) -> None:
    body = (real_data / "aqicn" / file).read_bytes()
    check_aqicn(server, other, (Scripted(status, body), kind, afterwards))


def test_every_recorded_answer_is_in_the_tables(real_data: Path) -> None:
    assert {path.name for path in (real_data / "tomtom").iterdir()} == {row[0] for row in TOMTOM_RECORDED}
    assert {path.name for path in (real_data / "aqicn").iterdir()} == {row[0] for row in AQICN_RECORDED}


def test_nobody_at_the_address_is_a_network_error(server: ScriptedServer, other: ScriptedServer) -> None:
    server.close()
    other.script = [fine(False)]
    poller = make_poller(server, other)
    assert poller.poll(PLACE, SLOT) is not None
    assert poller.counters.snapshot()["tomtom", "network"] == 1
    poller.close()


def test_a_closed_road_is_an_observation_and_no_error(server: ScriptedServer, other: ScriptedServer) -> None:
    server.script = [
        Scripted(body=b'{"flowSegmentData": {"currentSpeed": 40, "freeFlowSpeed": 40, "roadClosure": true}}')
    ]
    other.script = [Scripted(500)]
    poller = make_poller(server, other)
    message = poller.poll(PLACE, SLOT)
    assert message is not None
    assert (message.traffic_level, message.road_closure, message.current_speed) == (5, True, 40)
    assert poller.counters.snapshot()["tomtom", "ok"] == 1
    poller.close()
