"""TomTom's and AQICN's clients, on every recorded answer over real HTTP and on whatever else they might say."""

import copy
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lambda_pipeline.errors import SettingsError
from lambda_pipeline.ingestion.aqicn import AqicnClient, Reading, parse_feed
from lambda_pipeline.ingestion.http import HttpSession
from lambda_pipeline.ingestion.source_errors import ErrorKind, SourceError
from lambda_pipeline.ingestion.tomtom import Flow, TomTomClient, parse_flow
from lambda_pipeline_tests.ingestion.servers import Scripted, ScriptedServer

FLOW: dict[str, Any] = {"flowSegmentData": {"currentSpeed": 16, "freeFlowSpeed": 25.5, "roadClosure": False}}
FEED: dict[str, Any] = {
    "status": "ok",
    "data": {
        "aqi": 29,
        "time": {"iso": "2023-08-07T17:00:00+02:00"},
        "dominentpol": "o3",
        "iaqi": {"o3": {"v": 29.4}},
        "attributions": [{"name": "RIVM", "url": "http://www.luchtmeetnet.nl/", "logo": "x.png"}],
    },
}


def flow_with(**fields: Any) -> dict[str, Any]:
    return {"flowSegmentData": FLOW["flowSegmentData"] | fields}


def feed_with(**fields: Any) -> dict[str, Any]:
    changed = copy.deepcopy(FEED)
    changed["data"] |= fields
    return changed


# --- recorded answers, over HTTP ---------------------------------------------------------------------------------

TOMTOM_RECORDED: dict[str, tuple[int, Flow | ErrorKind]] = {
    "flow_congested.json": (200, Flow(16.0, 25.0, False)),
    "flow_free.json": (200, Flow(25.0, 25.0, False)),
    "error_400_too_far.json": (400, ErrorKind.TOO_FAR),
}
AQICN_RECORDED: dict[str, int | ErrorKind] = {
    "feed_ok.json": 29,
    "feed_no_aqi.json": ErrorKind.NO_READING,
    "error_invalid_key.json": ErrorKind.KEY,
    "error_over_quota.json": ErrorKind.RATE_LIMITED,
    "error_unknown_station.json": ErrorKind.NO_STATION,
}


def test_every_recorded_answer_is_known_here(real_data: Path) -> None:
    assert {path.name for path in (real_data / "tomtom").iterdir()} == set(TOMTOM_RECORDED)
    assert {path.name for path in (real_data / "aqicn").iterdir()} == set(AQICN_RECORDED)


@pytest.mark.parametrize("name", TOMTOM_RECORDED)
def test_tomtom_recorded(real_data: Path, session: HttpSession, server: ScriptedServer, name: str) -> None:
    status, expected = TOMTOM_RECORDED[name]
    server.script = [Scripted(status, (real_data / "tomtom" / name).read_bytes())]
    client = TomTomClient(session, server.url + "/", "k")
    if isinstance(expected, Flow):
        assert client.flow(-6.1861, 106.8236) == expected
    else:
        with pytest.raises(SourceError) as caught:
            client.flow(-6.1861, 106.8236)
        assert caught.value.kind is expected
    assert server.paths == [
        "/traffic/services/4/flowSegmentData/absolute/10/json?point=-6.186100,106.823600&unit=KMPH&key=k"
    ]


@pytest.mark.parametrize("name", AQICN_RECORDED)
def test_aqicn_recorded(real_data: Path, session: HttpSession, server: ScriptedServer, name: str) -> None:
    expected = AQICN_RECORDED[name]
    server.script = [Scripted(200, (real_data / "aqicn" / name).read_bytes())]
    client = AqicnClient(session, server.url, "t")
    if isinstance(expected, ErrorKind):
        with pytest.raises(SourceError) as caught:
            client.feed("A521365")
        assert caught.value.kind is expected
    else:
        reading = client.feed("A521365")
        assert reading.aqi == expected
        assert reading.measured_at == datetime(2023, 8, 7, 15, tzinfo=UTC)
        assert reading.dominant_pollutant == "o3"
        assert reading.pollutants["pm25"] == 17.0
        assert len(reading.pollutants) == 11
        assert [entry["name"] for entry in reading.attributions][1] == "World Air Quality Index Project"
        assert all(set(entry) == {"name", "url"} for entry in reading.attributions)
    assert server.paths == ["/feed/A521365/?token=t"]


def test_a_station_by_number_keeps_its_sign(session: HttpSession, server: ScriptedServer) -> None:
    server.script = [Scripted(body=json.dumps(FEED).encode())]
    AqicnClient(session, server.url, "t").feed("@8294")
    assert server.paths == ["/feed/@8294/?token=t"]


def test_a_key_is_needed(session: HttpSession) -> None:
    with pytest.raises(SettingsError, match="TOMTOM_API_KEY"):
        TomTomClient(session, "http://127.0.0.1", "")
    with pytest.raises(SettingsError, match="AQICN_TOKEN"):
        AqicnClient(session, "http://127.0.0.1", "")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Scripted(403, b""), ErrorKind.KEY),
        (Scripted(429, b""), ErrorKind.RATE_LIMITED),
        (Scripted(400, b"Bad Request"), ErrorKind.HTTP),
        (Scripted(400, b'{"error": "Missing parameter"}'), ErrorKind.HTTP),
        (Scripted(400, b"{}"), ErrorKind.SHAPE),
    ],
)
def test_tomtom_refusals(session: HttpSession, server: ScriptedServer, answer: Scripted, kind: ErrorKind) -> None:
    server.script = [answer]
    with pytest.raises(SourceError) as caught:
        TomTomClient(session, server.url, "k").flow(1, 2)
    assert caught.value.kind is kind


def test_what_a_server_says_of_the_key_is_not_repeated(
    session: HttpSession, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "0123456789secret"
    said = json.dumps({"status": "error", "data": f"Invalid key {secret}"}).encode()
    refused = json.dumps({"error": f"key {secret} may not"}).encode()
    errors = []
    server.script = [Scripted(200, said), Scripted(400, refused)]
    for ask in (
        lambda: AqicnClient(session, server.url, secret).feed("A1"),
        lambda: TomTomClient(session, server.url, secret).flow(1, 2),
    ):
        with pytest.raises(SourceError) as caught:
            ask()
        errors.append(caught.value)
    assert [error.kind for error in errors] == [ErrorKind.KEY, ErrorKind.HTTP]
    assert secret not in caplog.text + repr(errors) + str(errors)
    assert all(error.__context__ is None for error in errors)


# --- payloads ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "flow"),
    [
        (FLOW, Flow(16.0, 25.5, False)),
        (flow_with(roadClosure=True, currentSpeed=0), Flow(0.0, 25.5, True)),
        (flow_with(currentSpeed=300, freeFlowSpeed=0), Flow(300.0, 0.0, False)),
        ({"flowSegmentData": {"currentSpeed": 1, "freeFlowSpeed": 2}}, Flow(1.0, 2.0, None)),
    ],
)
def test_flows(payload: Any, flow: Flow) -> None:
    assert parse_flow(payload) == flow


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "x",
        {},
        {"flowSegmentData": None},
        {"flowSegmentData": {}},
        flow_with(currentSpeed="16"),
        flow_with(currentSpeed=None),
        flow_with(currentSpeed=True),
        flow_with(currentSpeed=-1),
        flow_with(currentSpeed=300.1),
        flow_with(freeFlowSpeed=1e308),
        flow_with(roadClosure="false"),
        flow_with(roadClosure=0),
    ],
)
def test_flows_of_another_shape(payload: Any) -> None:
    with pytest.raises(SourceError) as caught:
        parse_flow(payload)
    assert caught.value.kind is ErrorKind.SHAPE


def test_a_feed() -> None:
    assert parse_feed(FEED) == Reading(
        aqi=29,
        measured_at=datetime(2023, 8, 7, 15, tzinfo=UTC),
        dominant_pollutant="o3",
        pollutants={"o3": 29.4},
        attributions=[{"name": "RIVM", "url": "http://www.luchtmeetnet.nl/"}],
    )


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"aqi": "-"}, ErrorKind.NO_READING),
        ({"aqi": "-", "time": {}}, ErrorKind.NO_READING),
        ({"aqi": ""}, ErrorKind.NO_READING),
        ({"aqi": None}, ErrorKind.SHAPE),
        ({"aqi": "29"}, ErrorKind.SHAPE),
        ({"aqi": True}, ErrorKind.SHAPE),
        ({"aqi": 29.5}, ErrorKind.SHAPE),
        ({"aqi": -1}, ErrorKind.SHAPE),
        ({"aqi": 1001}, ErrorKind.SHAPE),
        ({"aqi": [29]}, ErrorKind.SHAPE),
        ({"time": None}, ErrorKind.SHAPE),
        ({"time": {"iso": ""}}, ErrorKind.SHAPE),
        ({"time": {"iso": 1691427600}}, ErrorKind.SHAPE),
        ({"time": {"iso": "2023-08-07T17:00:00"}}, ErrorKind.SHAPE),
        ({"time": {"iso": "0001-01-01T00:00:00+14:00"}}, ErrorKind.SHAPE),
    ],
)
def test_feeds_that_are_refused(fields: dict[str, Any], kind: ErrorKind) -> None:
    with pytest.raises(SourceError) as caught:
        parse_feed(feed_with(**fields))
    assert caught.value.kind is kind


@pytest.mark.parametrize("payload", [None, [], "x", {}, {"status": "ok"}, {"status": "ok", "data": "x"}])
def test_feeds_of_another_shape(payload: Any) -> None:
    with pytest.raises(SourceError) as caught:
        parse_feed(payload)
    assert caught.value.kind in (ErrorKind.SHAPE, ErrorKind.HTTP)


@pytest.mark.parametrize("aqi", [0, 1000, 29.0])
def test_aqi_at_the_ends_of_its_range(aqi: float) -> None:
    assert parse_feed(feed_with(aqi=aqi)).aqi == aqi


def test_what_the_domain_cannot_hold_is_dropped() -> None:
    reading = parse_feed(
        feed_with(
            dominentpol="o\x003",
            iaqi={
                "pm25": {"v": 17},
                "text": {"v": "17"},
                "none": {},
                "flag": {"v": True},
                "huge": {"v": 1e7},
                "nul\x00": {"v": 1},
                "": {"v": 1},
                "list": [1],
            },
            attributions=[
                {"name": "A", "url": "javascript:alert(1)"},
                {"name": 1, "url": "https://b.example"},
                {"name": "nul\x00", "url": None},
                "text",
                {},
            ],
        )
    )
    assert reading.dominant_pollutant is None
    assert reading.pollutants == {"pm25": 17.0}
    assert reading.attributions == [{"name": "A"}, {"url": "https://b.example"}]


@pytest.mark.parametrize("odd", [None, [], "x", 3])
def test_missing_extras_do_not_lose_the_reading(odd: Any) -> None:
    reading = parse_feed(feed_with(dominentpol=[], iaqi=odd, attributions=odd))
    assert (reading.dominant_pollutant, reading.pollutants, reading.attributions) == (None, {}, [])
