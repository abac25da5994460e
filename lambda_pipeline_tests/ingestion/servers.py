"""A local HTTP server that answers what a test tells it to, also wrongly."""

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Scripted:
    """One answer.

    `cut` closes the connection in the middle of the body, `drop` before any answer, `reset` with a reset; `hang`
    waits, `trickle` sends a byte every so often, `endless` sends the body again and again.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    drop: bool = False
    hang: bool = False
    reset: bool = False
    trickle: bool = False
    endless: bool = False


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients under test hang up in the middle; that is nothing to print."""


class ScriptedServer:
    """Answers requests with `script` in turn, its last entry for ever; or with what `route(path)` says."""

    def __init__(self) -> None:
        self.script: list[Scripted] = [Scripted()]
        self.route: Callable[[str], Scripted] | None = None
        self.paths: list[str] = []
        self.bodies: list[bytes] = []  # of POST requests
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._http = _QuietServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def _next(self, path: str) -> Scripted:
        with self._lock:
            self.paths.append(path)
            if self.route is not None:
                return self.route(path)
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65_536

            def do_POST(self) -> None:
                server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.do_GET()

            def do_GET(self) -> None:
                answer = server._next(self.path)
                if answer.hang:
                    server._closing.wait()
                if answer.reset:
                    # Closed with what it has not read or sent thrown away, which the other side sees as a reset.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                if answer.drop or answer.hang or answer.reset:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                if answer.cut:
                    self.close_connection = True
                    self.wfile.write(answer.body[: len(answer.body) // 2])
                    return
                if answer.trickle:
                    self.close_connection = True
                    for byte in answer.body:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        if server._closing.wait(0.02):
                            break
                    return
                while answer.endless and not server._closing.is_set():
                    self.close_connection = True
                    self.wfile.write(answer.body)  # until the client hangs up, which ends this thread
                if "Content-Length" in answer.headers:  # emptied by the test: the end is the end of the connection
                    self.close_connection = True
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        return Handler
