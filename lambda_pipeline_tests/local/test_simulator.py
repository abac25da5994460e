"""The simulator over real HTTP: the recorded formats, its faults, and the real clients and poller on it."""

import http.client
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from lambda_pipeline.domain.catalogue import load_city
from lambda_pipeline.ingestion.aqicn import AqicnClient
from lambda_pipeline.ingestion.breaker import NEVER_LEFT_ALONE
from lambda_pipeline.ingestion.http import HttpPolicy, HttpSession, create_session
from lambda_pipeline.ingestion.poller import Poller
from lambda_pipeline.ingestion.source_errors import ErrorKind, SourceError
from lambda_pipeline.ingestion.tomtom import TomTomClient
from lambda_pipeline.local.simulated_city import SimulatedCity
from lambda_pipeline.local.simulator import SimulatorServer, run_forever, serve
from lambda_pipeline.local.simulator_faults import FAULTS, Fault, FaultBoard

JAKARTA = load_city(Path(__file__).parents[2] / "cities" / "jakarta.toml")
NOW = datetime(2025, 3, 5, 1, 0, tzinfo=UTC)
PLACE = JAKARTA.locations[0]
FLOW = "/traffic/services/4/flowSegmentData/absolute/10/json?point=-6.186100,106.823600&unit=KMPH&key=k"
FEED = "/feed/A521365/?token=t"


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    server = serve(JAKARTA, 42, now=lambda: NOW)
    yield server
    server.close()


@pytest.fixture
def session() -> Iterator[HttpSession]:
    made = create_session(HttpPolicy(read_timeout=5.0), wait=lambda _: None)
    yield made
    made.close()


class Browser:
    """One kept connection."""

    def __init__(self, simulator: SimulatorServer) -> None:
        address = urlsplit(simulator.url)
        self.connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)

    def get(self, target: str, **headers: str) -> tuple[int, bytes]:
        self.connection.request("GET", target, headers={name.replace("_", "-"): text for name, text in headers.items()})
        response = self.connection.getresponse()
        return response.status, response.read()

    def json(self, target: str, **headers: str) -> Any:
        return json.loads(self.get(target, **headers)[1])

    def post(self, target: str, content: Any, content_type: str = "application/json") -> tuple[int, Any]:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.connection.request("POST", target, body, {"Content-Type": content_type})
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.fixture
def browser(simulator: SimulatorServer) -> Browser:
    return Browser(simulator)


def kinds(value: Any) -> Any:
    """The field names of a document and the kinds of what they hold; numbers are one kind, lists their first item."""
    if isinstance(value, dict):
        return {name: kinds(item) for name, item in value.items()}
    if isinstance(value, list):
        return [kinds(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def recorded(path: str) -> Any:
    folder = Path(os.environ.get("LAMBDA_REAL_DATA") or Path(__file__).parents[3] / "shared" / "real")
    if not folder.is_dir():
        pytest.skip(f"there are no recorded answers at {folder}; set LAMBDA_REAL_DATA")
    return json.loads((folder / path).read_text())


def test_a_flow_has_the_recorded_fields(browser: Browser) -> None:
    assert kinds(browser.json(FLOW)) == kinds(recorded("tomtom/flow_free.json"))


def test_a_feed_has_the_recorded_fields(browser: Browser) -> None:
    ours, real = browser.json(FEED), recorded("aqicn/feed_ok.json")
    real["data"].pop("forecast")
    assert set(ours["data"].pop("iaqi")) <= set(real["data"].pop("iaqi"))
    real["data"]["attributions"][0].pop("logo")
    assert kinds(ours) == kinds(real)
    assert ours["data"]["time"]["iso"].endswith("+07:00")


def test_errors_are_the_recorded_ones(browser: Browser) -> None:
    status, body = browser.get(FLOW.replace("-6.186100", "-6.200000"))
    assert (status, json.loads(body)) == (400, recorded("tomtom/error_400_too_far.json"))
    assert browser.json("/feed/nowhere/?token=t") == recorded("aqicn/error_unknown_station.json")
    for token in ("", "token=", "token=invalid"):
        assert browser.json(f"/feed/A521365/?{token}") == recorded("aqicn/error_invalid_key.json")
    for key in ("", "&key=", "&key=invalid"):
        status, body = browser.get(FLOW.removesuffix("&key=k") + key)
        assert status == 403
        assert not body.startswith(b"{")
    assert browser.get("/elsewhere")[0] == 404


@pytest.mark.parametrize(("metres", "status"), [(0, 200), (150, 200), (260, 400)])
def test_a_point_is_the_location_within_200_metres(browser: Browser, metres: int, status: int) -> None:
    latitude = -6.1861 + metres / 111_320
    assert browser.get(FLOW.replace("-6.186100", f"{latitude:.6f}"))[0] == status


@pytest.mark.parametrize("point", ["", "x,y", "1", "1,2,3", "nan,nan", "1e999,2"])
def test_a_point_that_is_none_is_too_far(browser: Browser, point: str) -> None:
    assert browser.get(FLOW.replace("-6.186100,106.823600", point))[0] == 400


def test_only_a_configured_key_is_accepted(session: HttpSession) -> None:
    server = serve(JAKARTA, 42, now=lambda: NOW, accepted_key="right")
    assert TomTomClient(session, server.url, "right").flow(-6.1861, 106.8236).free_flow_speed > 0
    assert AqicnClient(session, server.url, "right").feed("A521365").aqi > 0
    for ask in (
        lambda: TomTomClient(session, server.url, "wrong").flow(-6.1861, 106.8236),
        lambda: AqicnClient(session, server.url, "wrong").feed("A521365"),
    ):
        with pytest.raises(SourceError) as caught:
            ask()
        assert caught.value.kind is ErrorKind.KEY
    server.close()


def test_the_poller_on_the_simulator_gives_the_models_history(simulator: SimulatorServer, browser: Browser) -> None:
    """Two days in which everything occurs: both ways to the same observations, faults of the background included."""
    once = create_session(HttpPolicy(attempts=1))
    tomtom, aqicn = TomTomClient(once, simulator.url, "k"), AqicnClient(once, simulator.url, "t")
    poller = Poller(tomtom, aqicn, timedelta(hours=3), breaker=NEVER_LEFT_ALONE)
    slots = [NOW + timedelta(minutes=48 * step) for step in range(60)]
    polled = []
    for slot in slots:
        browser.post("/clock", {"at": slot.isoformat()})
        polled += [poller.poll(location, slot) for location in JAKARTA.locations]
    model = SimulatedCity(JAKARTA, 42)
    assert polled == [model.observation(location, slot) for slot in slots for location in JAKARTA.locations]
    counts = poller.counters.snapshot()
    assert counts["tomtom", "ok"] > 500
    assert {kind for source, kind in counts if source == "aqicn"} >= {"ok", "stale", "no_reading"}
    poller.close()
    once.close()


def test_equal_seeds_answer_alike(simulator: SimulatorServer, browser: Browser) -> None:
    other = serve(JAKARTA, 42, now=lambda: NOW)
    assert Browser(other).get(FLOW) == browser.get(FLOW)
    assert Browser(other).get(FEED) == browser.get(FEED)
    other.close()


def test_a_request_can_name_its_time(simulator: SimulatorServer, browser: Browser) -> None:
    night = "2025-03-05T03:00:00+07:00"
    by_header = browser.json(FLOW, X_Simulated_Time=night)
    assert by_header == browser.json(f"{FLOW}&at={night}")
    assert by_header["flowSegmentData"]["currentSpeed"] > browser.json(FLOW)["flowSegmentData"]["currentSpeed"]
    for bad in ("2025-03-05T03:00:00", "soon"):
        assert browser.get(FLOW, X_Simulated_Time=bad)[0] == 400


def test_the_clock_can_be_set_and_let_go(simulator: SimulatorServer, browser: Browser) -> None:
    day = browser.json(FEED)
    assert browser.post("/clock", {"at": "2025-03-04T03:00:00+07:00"}) == (200, {"at": "2025-03-04T03:00:00+07:00"})
    assert browser.json(FEED)["data"]["time"]["iso"].startswith("2025-03-04T0")
    assert browser.post("/clock", {"at": None}) == (200, {"at": None})
    assert browser.json(FEED) == day
    bad_times: list[Any] = [{"at": "soon"}, {"at": "2025-03-04T03:00:00"}, [], b"{"]
    for bad in bad_times:
        assert browser.post("/clock", bad)[0] == 400


def ask(session: HttpSession, simulator: SimulatorServer, source: str) -> Any:
    if source == "tomtom":
        return TomTomClient(session, simulator.url, "k").flow(-6.1861, 106.8236)
    return AqicnClient(session, simulator.url, "t").feed("A521365")


@pytest.mark.parametrize("source", ["tomtom", "aqicn"])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"fault": "status", "status": 403}, ErrorKind.KEY),
        ({"fault": "status", "status": 429, "retry_after": 60}, ErrorKind.RATE_LIMITED),
        ({"fault": "status", "status": 500}, ErrorKind.SERVER),
        ({"fault": "half_json"}, ErrorKind.NOT_JSON),
        ({"fault": "html"}, ErrorKind.NOT_JSON),
        ({"fault": "oversize"}, ErrorKind.TOO_LARGE),
        ({"fault": "redirect"}, ErrorKind.HTTP),
    ],
)
def test_faults(
    simulator: SimulatorServer, session: HttpSession, source: str, fault: dict[str, Any], kind: ErrorKind
) -> None:
    browser = Browser(simulator)
    other = "aqicn" if source == "tomtom" else "tomtom"
    status, active = browser.post("/faults", {"source": source, **fault})
    assert (status, [entry["fault"] for entry in active]) == (200, [fault["fault"]])
    with pytest.raises(SourceError) as caught:
        ask(session, simulator, source)
    assert caught.value.kind is kind
    assert ask(session, simulator, other) is not None

    assert browser.post("/faults", {"clear": True}) == (200, [])
    assert ask(session, simulator, source) is not None


def test_faults_in_what_is_said(simulator: SimulatorServer, session: HttpSession, browser: Browser) -> None:
    browser.post("/faults", {"source": "tomtom", "fault": "closed_road"})
    assert ask(session, simulator, "tomtom").road_closure is True
    browser.post("/faults", {"source": "aqicn", "fault": "stale"})
    assert NOW - ask(session, simulator, "aqicn").measured_at > timedelta(days=1)
    browser.post("/faults", {"clear": True, "source": "aqicn"})
    browser.post("/faults", {"source": "aqicn", "fault": "no_reading"})
    with pytest.raises(SourceError) as caught:
        ask(session, simulator, "aqicn")
    assert caught.value.kind is ErrorKind.NO_READING
    assert [entry["fault"] for entry in browser.json("/faults")] == ["closed_road", "no_reading"]


def test_a_fault_hangs_until_the_client_gives_up_and_does_not_hold_up_the_end(simulator: SimulatorServer) -> None:
    simulator.faults.add(Fault(source="tomtom", fault="hang", seconds=600))
    impatient = create_session(HttpPolicy(read_timeout=0.1, attempts=1))
    with pytest.raises(SourceError) as caught:
        ask(impatient, simulator, "tomtom")
    assert caught.value.kind is ErrorKind.TIMEOUT
    simulator.close()


def test_a_fault_may_hit_one_location_only(simulator: SimulatorServer, browser: Browser) -> None:
    simulator.faults.add(Fault(source="aqicn", fault="status", status=500, location="Krukut"))
    assert browser.get(FEED)[0] == 200
    assert browser.get("/feed/A495982/?token=t")[0] == 500


def test_a_probability_is_kept_and_reproducible() -> None:
    def hits(seed: int) -> list[bool]:
        board = FaultBoard(seed)
        board.add(Fault(source="aqicn", fault="html", probability=0.3))
        return [board.hitting("aqicn", None) is not None for _ in range(1000)]

    assert 250 < sum(hits(1)) < 350
    assert hits(1) == hits(1) != hits(2)


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        {},
        {"source": "tomtom"},
        {"source": "else", "fault": "html"},
        {"source": "tomtom", "fault": "else"},
        {"source": "tomtom", "fault": "stale"},
        {"source": "aqicn", "fault": "closed_road"},
        {"source": "aqicn", "fault": "html", "probability": 2},
        {"source": "aqicn", "fault": "status", "status": 99},
        {"source": "aqicn", "fault": "html", "unknown": 1},
        {"clear": True, "source": "else"},
        "text",
    ],
)
def test_a_fault_that_is_none_is_refused(simulator: SimulatorServer, browser: Browser, bad: Any) -> None:
    status, answer = browser.post("/faults", bad)
    assert status == 400
    assert answer["error"]
    assert simulator.faults.active() == []


def test_controls_are_json_and_bounded(browser: Browser) -> None:
    fault = {"source": "tomtom", "fault": "html"}
    assert browser.post("/faults", fault, "text/plain")[0] == 415
    assert browser.post("/elsewhere", {})[0] == 404
    assert browser.post("/faults", [fault] * 2)[0] == 200
    assert browser.post("/faults", b" " * 100_000)[0] == 400


def test_every_fault_is_described() -> None:
    for name in FAULTS:
        Fault(source="aqicn" if name in ("stale", "no_reading") else "tomtom", fault=name)


def test_it_listens_on_this_machine_only_and_frees_its_port() -> None:
    server = serve(JAKARTA, 1)
    assert server.url.startswith("http://127.0.0.1:")
    port = urlsplit(server.url).port or 0
    with pytest.raises(OSError, match="in use"):
        serve(JAKARTA, 1, port=port)
    server.close()
    server.close()
    again = serve(JAKARTA, 1, port=port)
    again.close()


def test_run_forever_announces_its_address_and_ends_when_told_to() -> None:
    stop, known = Event(), Event()
    urls: list[str] = []

    def announce(url: str) -> None:
        urls.append(url)
        known.set()

    thread = Thread(target=lambda: run_forever(JAKARTA, 1, announce=announce, stop=stop))
    thread.start()
    assert known.wait(10)
    http.client.HTTPConnection(urlsplit(urls[0]).netloc, timeout=10).connect()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
