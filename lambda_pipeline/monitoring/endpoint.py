"""The port that a daemon is watched at: `/metrics` for Prometheus, `/healthz` for whatever restarts it.

Watching never stops the work: where the port cannot be had, the daemon goes on without.
"""

import errno
import json
import logging
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Gauge, Info, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from lambda_pipeline import __version__
from lambda_pipeline.monitoring.pulse import Pulse
from lambda_pipeline.monitoring.redaction import redact

log = logging.getLogger(__name__)
PORTS = 10
"""How many ports are tried, from the set one on: so many daemons of a kind can be watched on one machine."""
_MOST_AT_ONCE = 8
_PATIENCE = 5.0  # seconds for whoever asks to send the question, and to take the answer


@dataclass(frozen=True)
class Monitor:
    """What a daemon is watched by. The registry is its own: nothing that a library counts gets in."""

    service: str
    registry: CollectorRegistry = field(default_factory=lambda: CollectorRegistry(auto_describe=True))
    pulse: Pulse = field(default_factory=Pulse)

    def __post_init__(self) -> None:
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        build = Info("lambda_build", "The program that runs.", registry=self.registry)
        build.info({"service": self.service, "version": __version__})
        healthy = Gauge(
            "lambda_healthy", "Whether /healthz answers 200: a restart would not help.", registry=self.registry
        )
        healthy.set_function(lambda: self.pulse.health().is_healthy)

    def health(self) -> tuple[int, bytes]:
        """HTTP's status and one line of JSON: 200 where a restart would not help, else 503."""
        found = self.pulse.health()
        content = {"status": found.status, "service": self.service, "version": __version__}
        if found.reason:
            content["reason"] = redact(found.reason)
        return 200 if found.is_healthy else 503, json.dumps(content, ensure_ascii=False).encode() + b"\n"


@contextmanager
def watched(service: str, host: str, port: int) -> Iterator[Monitor]:
    """A monitor, served at `host` from `port` on for as long as the block runs; 0: not served."""
    monitor = Monitor(service)
    server = _listen(monitor, host, port) if port else None
    if server is None:
        yield monitor
        return
    threading.Thread(target=server.serve_forever, args=(0.25,), name="endpoint", daemon=True).start()
    try:
        yield monitor
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    """Answers few at once, so that whoever asks cannot take the daemon's threads away."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64  # the base class's 5 would keep a few who ask at once waiting for a second
    allow_reuse_port = False  # two daemons at one port would each be asked every now and then

    def __init__(self, host: str, port: int, monitor: Monitor) -> None:
        """Listens. Raises OSError."""
        self.monitor = monitor
        self._room = threading.BoundedSemaphore(_MOST_AT_ONCE)
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]

    def server_bind(self) -> None:
        """Bind without the base class's question for this machine's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        """In a thread of its own, if few others are asked just now."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        """Answer."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asked went away."""
        log.debug("a question of %s was not answered", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE
    server_version, sys_version = "lambda-pipeline", ""

    def do_GET(self) -> None:
        """The two pages that there are."""
        path = urlsplit(self.path).path
        if path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept") or "")
            try:
                content = encode(self.server.monitor.registry)
            except Exception:  # a bug of ours, which Prometheus is told as well
                log.exception("the metrics cannot be read")
                self._answer(500, "text/plain; charset=utf-8", b"the log says why\n")
            else:
                self._answer(200, kind, content)
        elif path == "/healthz":
            status, content = self.server.monitor.health()
            self._answer(status, "application/json", content)
        else:
            self._answer(404, "text/plain; charset=utf-8", b"there are /metrics and /healthz\n")

    def do_HEAD(self) -> None:
        """The same, without its content."""
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing: it is asked all the time."""

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _listen(monitor: Monitor, host: str, port: int) -> _Server | None:
    """A server at the first free port; None, and a warning that says what to do, where there is none."""
    for number in range(port, min(port + PORTS, 65536)):
        try:
            server = _Server(host, number, monitor)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            log.warning(
                "no metrics: %s port %d cannot be listened at (%s). "
                "Check LAMBDA_METRICS_HOST and LAMBDA_%s_METRICS_PORT; the work goes on.",
                host, number, error.strerror or error, monitor.service.upper(),
            )  # fmt: skip
            return None
        taken = f" (port {port} is taken)" if number != port else ""
        shown = f"[{host}]" if ":" in host else host
        log.info("metrics at http://%s:%d/metrics, health at /healthz%s", shown, number, taken)
        return server
    log.warning(
        "no metrics: the ports %d to %d at %s are taken. Set LAMBDA_%s_METRICS_PORT to a free one; the work goes on.",
        port, port + PORTS - 1, host, monitor.service.upper(),
    )  # fmt: skip
    return None
