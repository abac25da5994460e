"""The HTTP session: what it retries, what it refuses, and that no key gets out of it."""

import copy
import gzip
import itertools
import logging
import time
import traceback
from functools import partial

import pytest

from lambda_pipeline.errors import TerminalError, TransientError
from lambda_pipeline.ingestion.http import HttpPolicy, HttpSession, create_session, redact
from lambda_pipeline.ingestion.source_errors import ErrorKind, SourceError
from lambda_pipeline_tests.ingestion.conftest import Waits
from lambda_pipeline_tests.ingestion.servers import Scripted, ScriptedServer

SECRET = "s3cr3t/+value"
QUOTED = "s3cr3t%2F%2Bvalue"
JSON = Scripted(body=b'{"fine": true}')
TERMINAL = {
    ErrorKind.KEY,
    ErrorKind.SHAPE,
    ErrorKind.NO_STATION,
    ErrorKind.TOO_FAR,
    ErrorKind.TOO_LARGE,
    ErrorKind.HTTP,
}


def ask(session: HttpSession, server: ScriptedServer, path: str = "/x") -> object:
    return session.get_json("tomtom", server.url + path, {"point": "1.5,-2", "key": SECRET}, SECRET)


def refusal(session: HttpSession, server: ScriptedServer) -> SourceError:
    with pytest.raises(SourceError) as caught:
        ask(session, server)
    return caught.value


def test_a_good_answer_is_its_json_and_the_query_arrives(session: HttpSession, server: ScriptedServer) -> None:
    server.script = [JSON]
    assert ask(session, server) == {"fine": True}
    assert server.paths == [f"/x?point=1.5,-2&key={QUOTED}"]


def test_a_compressed_answer_is_read(session: HttpSession, server: ScriptedServer) -> None:
    server.script = [Scripted(body=gzip.compress(JSON.body), headers={"Content-Encoding": "gzip"})]
    assert ask(session, server) == {"fine": True}


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (Scripted(429), ErrorKind.RATE_LIMITED),
        (Scripted(500), ErrorKind.SERVER),
        (Scripted(502, b"<html>"), ErrorKind.SERVER),
        (Scripted(503), ErrorKind.SERVER),
        (Scripted(503, b"x" * 1_000_001), ErrorKind.SERVER),
        (Scripted(429, gzip.compress(b"x" * 2_000_000), {"Content-Encoding": "gzip"}), ErrorKind.RATE_LIMITED),
        (Scripted(drop=True), ErrorKind.NETWORK),
        (Scripted(body=b'{"a": "' + b"x" * 1000, cut=True), ErrorKind.NETWORK),
    ],
)
def test_what_can_pass_is_tried_again(
    session: HttpSession, server: ScriptedServer, waits: Waits, bad: Scripted, kind: ErrorKind
) -> None:
    server.script = [bad, bad, JSON]
    assert ask(session, server) == {"fine": True}
    assert waits.seconds == [0.5, 1.0]

    server.script = [bad]
    server.paths.clear()
    error = refusal(session, server)
    assert error.kind is kind
    assert isinstance(error, TransientError)
    assert len(server.paths) == 4


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Scripted(400, b'{"error": "no"}'), ErrorKind.HTTP),
        (Scripted(401), ErrorKind.KEY),
        (Scripted(401, b"x" * 1_000_001), ErrorKind.KEY),
        (Scripted(403, b"<h1>Developer Inactive</h1>"), ErrorKind.KEY),
        (Scripted(404), ErrorKind.HTTP),
        (Scripted(301, headers={"Location": "/elsewhere"}), ErrorKind.HTTP),
        (Scripted(302, headers={"Location": "http://127.0.0.1:9/"}), ErrorKind.HTTP),
        (Scripted(204, b""), ErrorKind.HTTP),
        (Scripted(body=b"<!doctype html>"), ErrorKind.NOT_JSON),
        (Scripted(body=b'{"half": '), ErrorKind.NOT_JSON),
        (Scripted(body=b""), ErrorKind.NOT_JSON),
        (Scripted(body=b'{"a": "\xff\xfe"}'), ErrorKind.NOT_JSON),
        (Scripted(body=b'{"a": NaN}'), ErrorKind.NOT_JSON),
        (Scripted(body=b"[" * 200_000), ErrorKind.NOT_JSON),
        (Scripted(body=b'"' + b"x" * 1_000_000 + b'"'), ErrorKind.TOO_LARGE),
        (Scripted(body=b'"' + b"x" * 2_000_000 + b'"', headers={"Content-Length": ""}), ErrorKind.TOO_LARGE),
        (Scripted(body=gzip.compress(b"x" * 50_000_000), headers={"Content-Encoding": "gzip"}), ErrorKind.TOO_LARGE),
    ],
)
def test_what_cannot_pass_is_asked_once(
    session: HttpSession, server: ScriptedServer, waits: Waits, answer: Scripted, kind: ErrorKind
) -> None:
    server.script = [answer]
    assert refusal(session, server).kind is kind
    assert len(server.paths) == 1
    assert waits.seconds == []


def test_a_refused_connection_is_a_network_error(session: HttpSession) -> None:
    server = ScriptedServer()
    server.close()
    assert refusal(session, server).kind is ErrorKind.NETWORK


def test_an_address_that_is_none_is_an_error_like_any_other(session: HttpSession) -> None:
    for url in ("http://" + "a" * 70 + ".invalid/", "http://[::1", "nonsense", "ftp://127.0.0.1/"):
        with pytest.raises(SourceError) as caught:
            session.get_json("tomtom", url, {"key": SECRET}, SECRET)
        assert caught.value.kind is ErrorKind.NETWORK


def test_a_server_that_hangs_is_a_timeout_and_bounded(server: ScriptedServer, waits: Waits) -> None:
    server.script = [Scripted(hang=True)]
    session = create_session(HttpPolicy(read_timeout=0.1, attempts=3), wait=waits)
    started = time.monotonic()
    assert refusal(session, server).kind is ErrorKind.TIMEOUT
    assert len(server.paths) == 3
    assert time.monotonic() - started < 5


def test_an_answer_that_trickles_ends_at_the_total_time(server: ScriptedServer, waits: Waits) -> None:
    server.script = [Scripted(body=b'"' + b"x" * 900_000 + b'"')]
    ticks = itertools.count()
    session = create_session(HttpPolicy(total_time=5), wait=waits, clock=lambda: float(next(ticks)))
    assert refusal(session, server).kind is ErrorKind.TIMEOUT
    assert len(server.paths) == 1


def test_the_total_time_ends_the_attempts(server: ScriptedServer, waits: Waits) -> None:
    server.script = [Scripted(500)]
    session = create_session(HttpPolicy(total_time=0.9), wait=waits, clock=lambda: 0.0, jitter=lambda: 1.0)
    refusal(session, server)
    assert waits.seconds == [0.5]


def test_the_backoff_doubles_up_to_its_maximum_and_jitter_halves_it_at_most(server: ScriptedServer) -> None:
    server.script = [Scripted(500)]
    policy = HttpPolicy(total_time=1000, attempts=7, backoff=1, backoff_max=8)
    for jitter, expected in ((1.0, [1, 2, 4, 8, 8, 8]), (0.0, [0.5, 1, 2, 4, 4, 4])):
        waits = Waits()
        refusal(create_session(policy, wait=waits, clock=lambda: 0.0, jitter=partial(float, jitter)), server)
        assert waits.seconds == expected


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("3", [3.0]),
        ("0", [0.5]),
        ("11", []),  # longer than a poll can wait: not before the next one
        ("99999999999999999999", []),
        ("Wed, 21 Oct 2015 07:28:00 GMT", [0.5]),
        ("Fri, 31 Dec 9999 23:59:59 GMT", []),
        ("soon", [0.5]),
        ("-1", [0.5]),
    ],
)
def test_retry_after_is_honoured_within_bounds(
    session: HttpSession, server: ScriptedServer, waits: Waits, retry_after: str, seconds: list[float]
) -> None:
    server.script = [Scripted(429, headers={"Retry-After": retry_after}), JSON]
    if seconds:
        assert ask(session, server) == {"fine": True}
    else:
        assert refusal(session, server).kind is ErrorKind.RATE_LIMITED
    assert waits.seconds == seconds


def test_the_wish_to_be_left_alone_goes_with_the_error(session: HttpSession, server: ScriptedServer) -> None:
    server.script = [Scripted(503, headers={"Retry-After": "120"})]
    assert refusal(session, server).retry_after == 120.0
    server.script = [Scripted(503)]
    assert refusal(session, server).retry_after is None


class Purse:
    """A quota with so many requests left."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.asked: list[str] = []

    def __call__(self, source: str) -> bool:
        self.asked.append(source)
        self.left -= 1
        return self.left >= 0


def test_every_attempt_is_a_request_of_the_quota(server: ScriptedServer, waits: Waits) -> None:
    server.script = [Scripted(500), Scripted(500), JSON]
    purse = Purse(10)
    ask(create_session(wait=waits, spend=purse), server)
    assert purse.asked == ["tomtom"] * 3


def test_with_no_request_left_nothing_is_asked_nor_tried_again(server: ScriptedServer, waits: Waits) -> None:
    server.script = [Scripted(500)]
    error = refusal(create_session(wait=waits, spend=Purse(2)), server)
    assert (error.kind, len(server.paths)) == (ErrorKind.SERVER, 2)
    assert refusal(create_session(wait=waits, spend=Purse(0)), server).kind is ErrorKind.QUOTA
    assert len(server.paths) == 2


def test_told_to_stop_it_does_not_try_again(session: HttpSession, server: ScriptedServer, waits: Waits) -> None:
    server.script = [Scripted(500)]
    waits.stopped = True
    refusal(session, server)
    assert len(server.paths) == 1


def test_connections_are_kept_also_after_errors(
    session: HttpSession, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "urllib3")
    server.script = [Scripted(500, b"oh"), JSON]
    ask(session, server)
    ask(session, server)
    assert sum("Starting new HTTP connection" in message for message in caplog.messages) == 1


def test_cookies_are_not_kept(session: HttpSession, server: ScriptedServer) -> None:
    server.script = [Scripted(headers={"Set-Cookie": "a=b; Path=/"})]
    ask(session, server)
    assert not session._session.cookies


def test_no_proxy_is_used_towards_this_machine(
    session: HttpSession, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.script = [JSON]
    assert ask(session, server) == {"fine": True}


def test_a_proxy_of_the_environment_is_used_towards_others_but_for_no_proxy(
    session: HttpSession, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "direct.invalid")
    monkeypatch.setenv("NO_PROXY", "direct.invalid")
    server.script = [JSON]
    assert session.get_json("tomtom", "http://api.invalid/x", {"key": SECRET}, SECRET) == {"fine": True}
    assert server.paths == [f"http://api.invalid/x?key={QUOTED}"]
    with pytest.raises(SourceError):
        session.get_json("tomtom", "http://direct.invalid/x", {"key": SECRET}, SECRET)
    assert len(server.paths) == 1


def test_certificates_are_checked_against_the_file_of_the_environment(
    session: HttpSession, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    assert session._way_to("https://a.example").verify is True
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ours.pem")
    assert session._way_to("https://b.example").verify == "/etc/ours.pem"


BAD_ANSWERS = [
    Scripted(403),
    Scripted(500),
    Scripted(drop=True),
    Scripted(302, headers={"Location": f"http://127.0.0.1:9/?key={QUOTED}"}),
    Scripted(400, f'{{"error": "key {SECRET} is bad"}}'.encode()),
    Scripted(body=f"<p>{SECRET}".encode()),
    Scripted(headers={"Content-Length": "2", "Content-Encoding": "gzip"}),
]


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_a_key_never_gets_out(
    session: HttpSession, server: ScriptedServer, caplog: pytest.LogCaptureFixture, answer: Scripted
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script = [answer]
    error = refusal(session, server)
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = [str(error), repr(error), "".join(traceback.format_exception(error)), repr(error.args), repr(session)]
    shown += [record.getMessage() + repr(record.args) + repr(record.msg) for record in caplog.records]
    shown.append(caplog.text)
    assert any("urllib3" in record.name for record in caplog.records)
    for text in shown:
        assert SECRET not in text
        assert QUOTED not in text


def test_a_key_never_gets_out_when_nobody_answers(session: HttpSession, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = ScriptedServer()
    server.close()
    error = refusal(session, server)
    text = caplog.text + "".join(traceback.format_exception(error)) + repr(error)
    assert SECRET not in text
    assert QUOTED not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /a?point=1,2&key=abc HTTP/1.1", "GET /a?point=1,2&key=*** HTTP/1.1"),
        ("/feed/x/?token=abc&b=1", "/feed/x/?token=***&b=1"),
        ("url='/?TOKEN=abc'", "url='/?TOKEN=***'"),
        ("u=http%3A%2F%2Fx%3Fkey%3Dabc", "u=http%3A%2F%2Fx%3Fkey%3D***"),
        ("monkey=abc", "monkey=abc"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_is_transient_or_terminal(kind: ErrorKind) -> None:
    error = SourceError("aqicn", kind, "so")
    assert isinstance(error, TerminalError) == (kind in TERMINAL)
    assert isinstance(error, TransientError) == (kind not in TERMINAL)
    assert str(error) == f"aqicn: {kind.value}: so"
    again = copy.copy(error)
    assert (type(again), again.source, again.kind, again.detail) == (type(error), "aqicn", kind, "so")
