"""The simulator: an HTTP server that stands in for TomTom and AQICN, so that the real clients can poll it.

It answers in the two APIs' own formats for the catalogue's locations, out of the pure model in `simulated_city`.
Beside them it has two controls, both JSON: `POST /faults` switches faults on and off (`GET /faults` lists them), and
`POST /clock` with {"at": "2025-01-31T06:00:00+07:00"} stops the clock there, {"at": null} lets it go again. One
request can also name its own time, by the header X-Simulated-Time or the parameter `at`.

A control must say Content-Type: application/json, which a foreign web page cannot do to a server of this machine.
"""

import logging
import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.local.simulated_city import SimulatedCity, SimulatedFlow
from lambda_pipeline.local.simulator_faults import Fault, FaultBoard
from lambda_pipeline.local.simulator_payloads import feed_payload, flow_payload

log = logging.getLogger(__name__)

NEAR_METRES = 200.0
_METRES_A_DEGREE = 111_320.0
_MAX_BODY = 65_536
_FLOW_PATH = "/traffic/services/4/flowSegmentData/absolute/10/json"
_TOO_FAR = "Point too far from nearest existing segment."
_STALE = timedelta(days=2)


class _Answer(NamedTuple):
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class SimulatorServer:
    """A running simulator. `clock` gives the time it answers for (aware) and may be replaced at any moment.

    Any key is accepted but an empty one and "invalid", or only `accepted_key` where one is given.
    """

    def __init__(
        self,
        city: City,
        seed: int,
        *,
        host: str,
        port: int,
        now: Callable[[], datetime],
        accepted_key: str | None,
    ) -> None:
        self.city = SimulatedCity(city, seed)
        self.clock = now
        self.faults = FaultBoard(seed)
        self._now = now
        self._accepted_key = accepted_key
        self._stations = {place.aqicn_station: place for place in city.locations if place.aqicn_station is not None}
        self._points = [
            (place.latitude, place.longitude, place)
            for place in city.locations
            if place.latitude is not None and place.longitude is not None
        ]
        self._exact = {(latitude, longitude): place for latitude, longitude, place in self._points}
        self._closing = threading.Event()
        self._http = _HttpServer((host, port), _handler(self))
        name, bound = self._http.server_address[:2]
        shown = name.decode() if isinstance(name, bytes | bytearray) else name
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{bound}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), name="simulator", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port. May be called twice."""
        if not self._closing.is_set():
            self._closing.set()  # wakes whatever hangs on purpose
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()

    def answer(self, target: str, simulated_time: str | None) -> _Answer:
        """The answer to GET `target` (path and query)."""
        url = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        path = unquote(url.path)
        try:
            at = _instant(simulated_time or query.get("at")) or self.clock()
        except ValueError as error:
            return _json({"error": str(error)}, 400)
        if path == _FLOW_PATH:
            return self._tomtom(query, at)
        if path.startswith("/feed/"):
            return self._aqicn(path.removeprefix("/feed/").strip("/"), query, at)
        if path == "/faults":
            return _json(self.faults.active())
        return _json({"error": "no such page"}, 404)

    def control(self, path: str, body: bytes) -> _Answer:
        """The answer to POST `path`."""
        try:
            if path == "/faults":
                return _json(self.faults.apply(body))
            if path == "/clock":
                at = _instant(msgspec.json.decode(body, type=dict[str, str | None]).get("at"))
                self.clock = self._now if at is None else lambda: at
                return _json({"at": at and at.isoformat()})
        except (ValueError, msgspec.MsgspecError) as error:
            return _json({"error": str(error)}, 400)
        return _json({"error": "no such page"}, 404)

    def _tomtom(self, query: dict[str, str], at: datetime) -> _Answer:
        if not self._accepts(query.get("key")):
            return _Answer(403, b"<h1>Developer Inactive</h1>", "text/xml")
        place = self._nearest(query.get("point", ""))
        fault = self.faults.hitting("tomtom", place.name if place else None)
        if place is None:
            error = {"code": "INVALID_REQUEST", "message": _TOO_FAR}
            return self._spoil(_json({"error": _TOO_FAR, "httpStatusCode": 400, "detailedError": error}, 400), fault)
        flow = self.city.flow(place, at)
        if flow is None:
            return self._spoil(_Answer(503, b"", "text/plain"), fault)
        if fault is not None and fault.fault == "closed_road":
            flow = SimulatedFlow(0.0, flow.free_flow_speed, True)
        return self._spoil(_json(flow_payload(place, flow)), fault)

    def _aqicn(self, station: str, query: dict[str, str], at: datetime) -> _Answer:
        if not self._accepts(query.get("token")):
            return _json({"status": "error", "data": "Invalid key"})
        place = self._stations.get(station)
        fault = self.faults.hitting("aqicn", place.name if place else None)
        if place is None:
            return self._spoil(_json({"status": "error", "data": "Unknown station"}), fault)
        shift = _STALE if fault is not None and fault.fault == "stale" else timedelta(0)
        air = self.city.air(place, at - shift)
        if air is None:
            return self._spoil(_Answer(503, b"", "text/plain"), fault)
        blank = fault is not None and fault.fault == "no_reading"
        return self._spoil(_json(feed_payload(place, air, self.city.city, blank)), fault)

    def _accepts(self, key: str | None) -> bool:
        if not key or key == "invalid":
            return False
        return self._accepted_key is None or key == self._accepted_key

    def _nearest(self, point: str) -> Location | None:
        """The location within 200 m of "LAT,LON"."""
        try:
            latitude, longitude = (float(part) for part in point.split(","))
        except ValueError:
            return None
        if not (math.isfinite(latitude) and math.isfinite(longitude)):
            return None
        if (latitude, longitude) in self._exact:
            return self._exact[latitude, longitude]
        best, nearest = NEAR_METRES, None
        for its_latitude, its_longitude, place in self._points:
            across = (its_longitude - longitude) * math.cos(math.radians(latitude))
            metres = math.hypot(its_latitude - latitude, across) * _METRES_A_DEGREE
            if metres <= best:
                best, nearest = metres, place
        return nearest

    def _spoil(self, answer: _Answer, fault: Fault | None) -> _Answer:
        """What a fault makes of an answer."""
        spoilt = answer
        match fault.fault if fault is not None else None:
            case "hang" if fault is not None:
                self._closing.wait(fault.seconds)
            case "status" if fault is not None:
                wish = () if fault.retry_after is None else (("Retry-After", str(fault.retry_after)),)
                spoilt = _Answer(fault.status, b"", "text/plain", wish)
            case "half_json":
                spoilt = answer._replace(body=answer.body[: len(answer.body) // 2])
            case "html":
                spoilt = _Answer(200, b"<!doctype html><title>Maintenance</title><h1>Back soon</h1>", "text/html")
            case "oversize":
                spoilt = _json({"padding": "x" * 2_000_000})
            case "redirect":
                spoilt = _Answer(302, b"", "text/plain", (("Location", "http://redirected.invalid/"),))
        return spoilt


def serve(
    city: City,
    seed: int,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    accepted_key: str | None = None,
) -> SimulatorServer:
    """Start a simulator in threads of this process; port 0 takes a free one. Raises OSError where it is taken."""
    return SimulatorServer(city, seed, host=host, port=port, now=now, accepted_key=accepted_key)


def run_forever(
    city: City,
    seed: int,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    announce: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Serve until `stop` is set or Ctrl-C. `announce` is handed the address. Raises OSError for a taken port."""
    server = serve(city, seed, host, port)
    try:
        if announce is not None:
            announce(server.url)
        (stop or threading.Event()).wait()
    except KeyboardInterrupt:
        log.info("the simulator was interrupted")
    finally:
        server.close()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is nothing to print a traceback for."""
        log.debug("a request from %s ended early", client_address, exc_info=True)


def _handler(server: SimulatorServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65_536  # the whole answer in one packet: half an answer waits for the other's delayed ACK
        disable_nagle_algorithm = True
        timeout = 120

        def do_GET(self) -> None:
            self._send(server.answer(self.path, self.headers.get("X-Simulated-Time")))

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > _MAX_BODY:
                self.close_connection = True
                self._send(_json({"error": f"a control is JSON of at most {_MAX_BODY} bytes"}, 400))
                return
            body = self.rfile.read(int(length))
            if self.headers.get_content_type() != "application/json":
                self._send(_json({"error": "Content-Type must be application/json"}, 415))
                return
            self._send(server.control(urlsplit(self.path).path, body))

        def _send(self, answer: _Answer) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent: a line of it would hold the key."""

    return Handler


def _json(content: Any, status: int = 200) -> _Answer:
    return _Answer(status, msgspec.json.encode(content))


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    instant = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign in a query means a space
    if instant.tzinfo is None:
        raise ValueError("a simulated time needs an offset")
    return instant
