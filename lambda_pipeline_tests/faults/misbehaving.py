"""The simulated city's APIs behind servers that misbehave for as long as they are told to."""

import gzip
import threading
from collections.abc import Callable, Mapping

from lambda_pipeline.local.simulator import SimulatorServer
from lambda_pipeline_tests.ingestion.servers import Scripted, ScriptedServer

_JSON = b'{"flowSegmentData": {"currentSpeed": 10, "padding": ["' + b"x" * 65_536
_PAGE = b"<!doctype html><title>Maintenance</title><h1>Back soon</h1>"
_BOMB = gzip.compress(b"0," * 1_000_000) * 200  # four hundred kilobytes that become as many megabytes

MISBEHAVIOURS: Mapping[str, Scripted] = {
    "hangs": Scripted(hang=True),
    "answers 403": Scripted(403, b"<h1>Developer Inactive</h1>"),
    "answers 429": Scripted(429, b"", {"Retry-After": "3"}),
    "answers 500": Scripted(500, b""),
    "answers half a JSON": Scripted(body=_JSON[:300]),
    "breaks off": Scripted(body=_JSON, cut=True),
    "resets": Scripted(reset=True),
    "answers HTML": Scripted(body=_PAGE),
    "answers without end": Scripted(body=_JSON, headers={"Content-Length": ""}, endless=True),
    "answers a bomb": Scripted(body=_BOMB, headers={"Content-Encoding": "gzip"}),
    "redirects": Scripted(302, b""),
}


class MisbehavingApi:
    """One of the two APIs. `on_answer` is called before each good answer."""

    def __init__(self, simulator: SimulatorServer, on_answer: Callable[[], None] = lambda: None) -> None:
        self._simulator = simulator
        self._on_answer = on_answer
        self._lock = threading.Lock()
        self._bad: Scripted | None = None
        self.bad_answers = 0
        self.elsewhere = ScriptedServer()  # where it redirects to
        self._server = ScriptedServer()
        self._server.route = self._answer
        self.url = self._server.url

    def misbehave(self, how: str | None) -> None:
        """From now on, or no more."""
        with self._lock:
            self._bad = None if how is None else MISBEHAVIOURS[how]
            self.bad_answers = 0

    def close(self) -> None:
        """Answer no more."""
        self._server.close()
        self.elsewhere.close()

    def _answer(self, path: str) -> Scripted:
        with self._lock:
            bad = self._bad
            self.bad_answers += bad is not None
        if bad is not None:
            is_redirect = bad.status == 302
            return Scripted(302, b"", {"Location": f"{self.elsewhere.url}{path}"}) if is_redirect else bad
        self._on_answer()
        found = self._simulator.answer(path, None)
        return Scripted(found.status, found.body, dict(found.headers))
