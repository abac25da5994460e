"""HTTP towards the two APIs: one session with time-outs, retries, size limits, and no way for a key to get out.

Both APIs carry their key in the query string, so whatever prints a URL prints the key: requests' exceptions do, and
urllib3 logs the path of every request at DEBUG. Hence three rules here. No text of a library's exception goes into
ours, only the name of its class. Our error is raised where no other is being handled, so that it has neither cause
nor context that holds the URL. And urllib3's loggers get a filter that blots the key out of every record.

The retries are a loop of our own and not urllib3's `Retry`, which does not retry a body that breaks off, waits not at
all before its first retry, cannot be stopped or bounded in total, and warns with the URL in its message.
"""

import email.utils
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus, urlencode, urlsplit

import msgspec
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from lambda_pipeline.ingestion.source_errors import ErrorKind, SourceError

_CHUNK = 65_536
_MAX_DETAIL = 200
_URLLIB3_LOGGERS = ("urllib3.connectionpool", "urllib3.poolmanager", "urllib3.connection", "urllib3.util.retry")
_KEY_IN_URL = re.compile(r"((?:[?&]|%3F|%26)(?:key|token)(?:=|%3D))[^&\s'\"<>#)]+", re.IGNORECASE)
_RETRIED = frozenset({ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.RATE_LIMITED, ErrorKind.SERVER})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """Limits of one question to an API. Times in seconds, sizes in bytes.

    `total_time` bounds all attempts and waits together; a read that is under way when it ends may take one more
    `read_timeout`. A Retry-After longer than `retry_after_max` is obeyed by not trying again in this poll.
    """

    connect_timeout: float = 3.05
    read_timeout: float = 8.0
    total_time: float = 20.0
    attempts: int = 4
    backoff: float = 0.5
    backoff_max: float = 5.0
    retry_after_max: float = 10.0
    max_bytes: int = 1_000_000
    pool_size: int = 64


# For polling past slots at speed from the simulator, whose outages last longer than any retry.
FAST_FORWARD = HttpPolicy(attempts=2, backoff=0.01, backoff_max=0.01)


class _Answer(NamedTuple):
    """A complete HTTP answer."""

    status: int
    body: bytes


class _Way(NamedTuple):
    """How an address is reached: proxies by scheme, and whether or against which file certificates are checked."""

    proxies: dict[str, str]
    verify: bool | str


class _Failure(NamedTuple):
    """An attempt that gave no answer, as a value: it is raised only where no library's exception is handled."""

    kind: ErrorKind
    detail: str
    retry_after: float | None = None


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere. Of a redirect that it knows of, requests reads the whole body, also if told not to follow it."""


class HttpSession:
    """Asks for JSON. Safe to share between threads. Made by `create_session`."""

    def __init__(
        self,
        session: requests.Session,
        policy: HttpPolicy,
        wait: Callable[[float], object],
        clock: Callable[[], float],
        jitter: Callable[[], float],
        spend: Callable[[str], bool],
    ) -> None:
        self.policy = policy
        self._session = session
        self._wait = wait
        self._clock = clock
        self._jitter = jitter
        self._spend = spend
        self._ways: dict[str, _Way] = {}

    def get_json(
        self,
        source: str,
        url: str,
        query: Mapping[str, str],
        secret: str,
        readable: frozenset[int] = frozenset({200}),
    ) -> Any:
        """The decoded JSON of GET `url` with `query`, which holds the `secret` (the API key).

        `readable` are the status codes whose JSON is handed back. Tries again, with backoff and jitter, after 429,
        5xx, network errors and time-outs, and asks nothing that the source's quota has no request left for. Raises
        SourceError.
        """
        outcome = self._ask(source, f"{url}?{urlencode(query, safe=',')}", readable)
        if isinstance(outcome, _Failure):
            raise SourceError(source, outcome.kind, clean(outcome.detail, secret), outcome.retry_after)
        payload = _decode(outcome.body)
        if isinstance(payload, _Failure):
            if outcome.status != 200:
                payload = _Failure(ErrorKind.HTTP, f"HTTP {outcome.status}")
            raise SourceError(source, payload.kind, payload.detail)
        return payload

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _ask(self, source: str, url: str, readable: frozenset[int]) -> _Answer | _Failure:
        deadline = self._clock() + self.policy.total_time
        outcome: _Answer | _Failure = _Failure(ErrorKind.QUOTA, "the day's requests are used up")
        for attempt in range(self.policy.attempts):
            if not self._spend(source):
                break  # a retry that the quota has no request for leaves the last attempt's failure
            outcome = self._attempt(url, readable, deadline)
            if isinstance(outcome, _Answer) or outcome.kind not in _RETRIED or attempt + 1 == self.policy.attempts:
                break
            pause = self._pause(attempt, outcome.retry_after)
            if pause is None or self._clock() + pause >= deadline or self._wait(pause) is True:
                break  # too long to wait for, or told to stop
        return outcome

    def _pause(self, attempt: int, retry_after: float | None) -> float | None:
        """Seconds before the next attempt, None for none: the server's wish, else half to all of 2^n backoffs."""
        if retry_after is not None and retry_after > self.policy.retry_after_max:
            return None
        backoff = min(self.policy.backoff * float(2**attempt), self.policy.backoff_max) * (0.5 + 0.5 * self._jitter())
        return max(backoff, retry_after or 0.0)

    def _attempt(self, url: str, readable: frozenset[int], deadline: float) -> _Answer | _Failure:
        left = max(deadline - self._clock(), 0.1)
        try:
            way = self._way_to("/".join(url.split("/", 3)[:3]))
            response = self._session.send(
                self._session.prepare_request(requests.Request("GET", url)),
                timeout=(min(self.policy.connect_timeout, left), min(self.policy.read_timeout, left)),
                allow_redirects=False,
                stream=True,
                proxies=way.proxies,
                verify=way.verify,
            )
            with closing(response):
                body = self._read(response, deadline)
                status, headers = response.status_code, response.headers
        except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
            return _Failure(ErrorKind.TIMEOUT, type(error).__name__)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            return _Failure(ErrorKind.NETWORK, type(error).__name__)
        if status not in readable:
            return _refusal(status, headers.get("Retry-After"))
        return body if isinstance(body, _Failure) else _Answer(status, body)

    def _way_to(self, address: str) -> "_Way":
        """Read from the environment once per address: requests would at each request, for a fifth of its cost."""
        way = self._ways.get(address)
        if way is None:
            way = self._ways[address] = _way_to(address)
        return way

    def _read(self, response: requests.Response, deadline: float) -> bytes | _Failure:
        """The body, decompressed, read as it comes so that neither size nor a trickle is without bound."""
        limit = self.policy.max_bytes
        too_large = _Failure(ErrorKind.TOO_LARGE, f"more than {limit} bytes")
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) > limit:
            return too_large
        body = bytearray()
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > limit:
                return too_large
            if self._clock() > deadline:
                return _Failure(ErrorKind.TIMEOUT, "the answer trickles")
        return bytes(body)


def create_session(
    policy: HttpPolicy | None = None,
    *,
    wait: Callable[[float], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
    jitter: Callable[[], float] = random.random,
    spend: Callable[[str], bool] = lambda _source: True,
) -> HttpSession:
    """The session that both clients share.

    `wait(seconds)` waits between attempts and gives True when the program is to stop (an Event's `wait`); `clock` is
    monotonic seconds and `jitter` gives 0 to 1; `spend(source)` is called before every request, retries too, and gives
    False where the day's quota has none left. Redirects are not followed, cookies not kept and ~/.netrc is not read.
    The usual proxy and certificate variables are honoured as they are at the first request to an address, except
    towards this machine. From here on urllib3's logs show no keys.
    """
    policy = policy or HttpPolicy()
    session = _Session()
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=policy.pool_size, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.trust_env = False  # see _way_to
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update({"Accept": "application/json", "User-Agent": "lambda-pipeline"})
    for name in _URLLIB3_LOGGERS:
        logging.getLogger(name).addFilter(_redact_record)
    return HttpSession(session, policy, wait or threading.Event().wait, clock, jitter, spend)


def redact(text: str) -> str:
    """The text without the values of `key=` and `token=` in whatever URLs it holds."""
    return _KEY_IN_URL.sub(r"\1***", text)


def clean(text: str, secret: str) -> str:
    """One short line of what a server said: no control characters, and without the secret however it is quoted."""
    for form in sorted({secret, quote(secret, safe=""), quote_plus(secret)}, key=len, reverse=True):
        if form:
            text = text.replace(form, "***")
    return redact(_CONTROL.sub(" ", text)).strip()[:_MAX_DETAIL]


def _redact_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = redact(record.getMessage()), ()
    record.exc_info = record.exc_text = None  # its text may quote the URL
    return True


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Failure(ErrorKind.NOT_JSON, f"{len(body)} bytes that are not JSON")


def _refusal(status: int, retry_after: str | None) -> _Failure:
    kind = ErrorKind.HTTP
    if status in (401, 403):
        kind = ErrorKind.KEY
    elif status == 429:
        kind = ErrorKind.RATE_LIMITED
    elif status >= 500:
        kind = ErrorKind.SERVER
    redirect = ", a redirect, which is not followed" if 300 <= status < 400 else ""
    return _Failure(kind, f"HTTP {status}{redirect}", _seconds(retry_after))


def _seconds(retry_after: str | None) -> float | None:
    """Seconds that a Retry-After header asks for; None if it does not say."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


def _way_to(address: str) -> _Way:
    """No proxy towards this machine, where the simulator is: a proxy elsewhere would look for it on its own."""
    host = urlsplit(address).hostname or ""
    try:
        is_local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_local = False
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return _Way({} if is_local else get_environ_proxies(address), bundle or True)
