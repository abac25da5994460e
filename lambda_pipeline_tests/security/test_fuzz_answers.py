"""What the APIs may answer: anything. It becomes a half of an observation or a SourceError, in bounded memory."""

import gzip
import json
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as st

from lambda_pipeline.domain.observation import MAX_AQI, MAX_SPEED, ObservationMessage, decode, encode
from lambda_pipeline.ingestion.aqicn import AqicnClient, parse_feed
from lambda_pipeline.ingestion.http import HttpPolicy, HttpSession, create_session
from lambda_pipeline.ingestion.source_errors import ErrorKind, SourceError
from lambda_pipeline.ingestion.tomtom import TomTomClient, parse_flow
from lambda_pipeline_tests.ingestion.servers import Scripted, ScriptedServer
from lambda_pipeline_tests.integration.observations import HOUR
from lambda_pipeline_tests.security.fuzzing import anything, damaged, examples, hostile_text, numbers, scalars

KEY = "s3cret-key"
_MOST_CHUNKS = 500
POLICY = HttpPolicy(connect_timeout=5, read_timeout=5, total_time=20, attempts=1)

FLOW = {"flowSegmentData": {"currentSpeed": 20, "freeFlowSpeed": 40, "roadClosure": False, "confidence": 1}}
FEED = {
    "status": "ok",
    "data": {
        "aqi": 74, "idx": 8294, "dominentpol": "pm25", "time": {"iso": "2025-06-02T10:00:00+07:00", "v": 1748858400},
        "iaqi": {"pm25": {"v": 74}, "t": {"v": 27.5}},
        "attributions": [{"url": "https://aqicn.org/", "name": "World Air Quality Index Project"}],
    },
}  # fmt: skip


def changed(payload: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The payload with other values, at any depth."""
    if isinstance(payload, dict):
        return st.fixed_dictionaries({}, optional={key: changed(value, values) for key, value in payload.items()})
    if isinstance(payload, list):
        return st.one_of(st.just(payload), values, st.lists(st.one_of(*(changed(one, values) for one in payload))))
    return st.one_of(st.just(payload), values)


flows = st.one_of(changed(FLOW, anything), anything)
segments = st.fixed_dictionaries(
    {"currentSpeed": numbers | scalars, "freeFlowSpeed": numbers | scalars},
    optional={"roadClosure": scalars, "error": anything},
).map(lambda segment: {"flowSegmentData": segment})
feeds = st.one_of(changed(FEED, anything), changed(FEED, scalars), anything)


@examples(400)
@given(st.one_of(flows, segments))
@example({"error": "x" * 1000 + KEY})
def test_any_flow_is_within_the_domain_or_refused(payload: Any) -> None:
    try:
        flow = parse_flow(as_decoded(payload))
    except SourceError as error:
        assert_says_little(error)
        return
    assert 0 <= flow.current_speed <= MAX_SPEED
    assert 0 <= flow.free_flow_speed <= MAX_SPEED
    assert flow.road_closure in (None, True, False)
    assert_can_be_sent(current_speed=flow.current_speed, free_flow_speed=flow.free_flow_speed)


@examples(400)
@given(feeds)
@example(FEED)
@example({"status": "error", "data": KEY})
@example({"status": "ok", "data": {**FEED["data"], "time": {"iso": "0001-01-01T00:00:00+23:59"}}})
@example({"status": "ok", "data": {**FEED["data"], "iaqi": {"pm25": {"v": 10**400}}}})
def test_any_feed_is_within_the_domain_or_refused(payload: Any) -> None:
    try:
        reading = parse_feed(as_decoded(payload))
    except SourceError as error:
        assert_says_little(error)
        return
    assert 0 <= reading.aqi <= MAX_AQI
    assert reading.measured_at.tzinfo is not None
    assert all(one.get("url", "http").lower().startswith("http") for one in reading.attributions)
    assert_can_be_sent(
        aqi_value=reading.aqi, aqi_measured_at=reading.measured_at, dominant_pollutant=reading.dominant_pollutant,
        pollutants=reading.pollutants, attributions=reading.attributions,
    )  # fmt: skip


def as_decoded(payload: Any) -> Any:
    """What the payload is when it has come as JSON. Some values cannot."""
    try:
        return msgspec.json.decode(json.dumps(payload).encode())
    except (msgspec.DecodeError, RecursionError):
        reject()


def assert_says_little(error: SourceError) -> None:
    """An error is short and repeats nothing of what the server said."""
    assert KEY not in str(error)
    assert len(str(error)) < 500


def assert_can_be_sent(**measures: Any) -> None:
    """What an API gave is a message that both layers take."""
    message = ObservationMessage(schema_version=1, timestamp=HOUR, location="Krukut", **measures)
    assert decode(encode(message)) == message


# ---------------------------------------------------------------- over the wire


@pytest.fixture(scope="module")
def session() -> Iterator[HttpSession]:
    made = create_session(POLICY)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    made = ScriptedServer()
    yield made
    made.close()


bodies = st.one_of(
    st.binary(max_size=300),
    damaged(json.dumps(FEED).encode()),
    damaged(json.dumps(FLOW).encode()),
    anything.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.integers(1, 200_000).map(lambda depth: b"[" * depth),
    st.integers(1, 20_000).map(lambda depth: b'{"data":' * depth + b"1" + b"}" * depth),
    st.integers(1, 900_000).map(lambda digits: b'{"status":"ok","data":{"aqi":' + b"9" * digits + b"}}"),
    hostile_text.map(lambda text: f"<html>{text}".encode("utf-8", "surrogatepass")),
)
encodings = st.sampled_from(["", "gzip", "deflate", "br", "zstd", "gzip, gzip", "identity", "nonsense"])
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "gzip, gzip": lambda body: gzip.compress(gzip.compress(body)),
}


@examples(150)
@given(bodies, encodings, st.sampled_from([200, 200, 200, 204, 301, 400, 403, 404, 429, 500, 999]), st.booleans())
def test_any_answer_is_read_or_refused(
    server: ScriptedServer, session: HttpSession, body: bytes, encoding: str, status: int, is_packed: bool
) -> None:
    content = PACK.get(encoding, bytes)(body) if is_packed else body
    server.script = [Scripted(status=status, body=content, headers={"Content-Encoding": encoding} if encoding else {})]
    for ask in (
        lambda: TomTomClient(session, server.url, KEY).flow(-6.2, 106.8),
        lambda: AqicnClient(session, server.url, KEY).feed("A1"),
    ):
        try:
            ask()
        except SourceError as error:
            assert_says_little(error)


class Endless:
    """A server that answers with `head` and then `chunk` again and again, until nobody listens any more.

    It gives up after so much that a client of unbounded memory does not take the machine's.
    """

    def __init__(self, head: bytes, chunk: bytes) -> None:
        self._head, self._chunk = head, chunk
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.is_left_alone = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            connection, _ = self._socket.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(self._head)
                for _ in range(_MOST_CHUNKS):
                    connection.sendall(self._chunk)
                connection.settimeout(15)
                connection.recv(1)  # until the other side hangs up
        except TimeoutError:
            return
        except OSError:
            pass
        self.is_left_alone.set()

    def close(self) -> None:
        self._socket.close()


PACKED = gzip.compress(b" " * 4_000)  # a member, which may be followed by others
PACKED *= 65_536 // len(PACKED)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ENDLESS = {
    "a body until the end": (OK + b"\r\n[", b" " * 65_536),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n"),
    "a lie about the length": (OK + b"Content-Length: 10\r\n\r\n", b" " * 65_536),
    "a length beyond measure": (OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", b" " * 65_536),
    "packed": (OK + b"Content-Encoding: gzip\r\n\r\n", PACKED),
    "packed chunks": (
        OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"%x\r\n%s\r\n" % (len(PACKED), PACKED),
    ),
    "an endless chunk's length": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 65_536),
    "headers": (OK, b"X-Header: " + b"x" * 1000 + b"\r\n"),
    "one header": (OK + b"X-Header: ", b"x" * 65_536),
    "a status line": (b"HTTP/1.1 200 ", b"x" * 65_536),
    "an error's body": (b"HTTP/1.1 500 Oh\r\n\r\n", b"<html>" * 10_000),
    "a redirect's body": (b"HTTP/1.1 302 There\r\nLocation: /there\r\n\r\n", b"<html>" * 10_000),
}


@pytest.mark.parametrize(("head", "chunk"), ENDLESS.values(), ids=list(ENDLESS))
def test_an_answer_without_end_is_refused_in_bounded_memory(session: HttpSession, head: bytes, chunk: bytes) -> None:
    server = Endless(head, chunk)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError) as caught:
            AqicnClient(session, server.url, KEY).feed("A1")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        server.close()
    kinds = (ErrorKind.TOO_LARGE, ErrorKind.NETWORK, ErrorKind.NOT_JSON, ErrorKind.SERVER, ErrorKind.HTTP)
    assert caught.value.kind in kinds
    assert peak < 16_000_000
    if caught.value.kind is not ErrorKind.NOT_JSON:  # a complete answer: the connection is kept, and read no further
        assert server.is_left_alone.wait(20), "the connection was let go of"
