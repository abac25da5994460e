"""The port that a daemon is watched at: what it answers, and that it never stands in the way of the work."""

import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest
import requests
from prometheus_client import Gauge
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from lambda_pipeline import __version__
from lambda_pipeline.local.home import free_port
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline.monitoring import endpoint
from lambda_pipeline.monitoring.endpoint import Monitor, watched
from lambda_pipeline.monitoring.pulse import Pulse


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def monitor(port: int) -> Iterator[Monitor]:
    with watched("speed", "127.0.0.1", port) as made:
        yield made


def get(port: int, path: str, **more: object) -> requests.Response:
    return requests.request(str(more.pop("method", "GET")), f"http://127.0.0.1:{port}{path}", timeout=10, **more)  # type: ignore[arg-type]


def metrics_ports(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [int(number) for number in re.findall(r"metrics at http://127\.0\.0\.1:(\d+)/metrics", caplog.text)]


# ---------------------------------------------------------------- what it answers


def test_metrics_are_the_daemons_own_with_process_and_build(monitor: Monitor, port: int) -> None:
    Gauge("lambda_test_things", "Things.", registry=monitor.registry).set(3)
    answer = get(port, "/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["lambda_test_things"].samples[0].value == 3
    assert families["lambda_build_info"].samples[0].labels == {"service": "speed", "version": __version__}
    resident = families["process_resident_memory_bytes"].samples[0].value
    assert resident == pytest.approx(psutil.Process().memory_info().rss, rel=0.5)
    assert "python_info" in families


def test_whoever_asks_for_openmetrics_gets_it(monitor: Monitor, port: int) -> None:
    answer = get(port, "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_health_is_a_line_of_json_and_its_status_says_whether_to_restart(monitor: Monitor, port: int) -> None:
    about = {"service": "speed", "version": __version__}
    starting = get(port, "/healthz")
    assert (starting.status_code, starting.json()["status"]) == (503, "starting")
    assert monitor.registry.get_sample_value("lambda_healthy") == 0
    monitor.pulse.beat()
    assert monitor.registry.get_sample_value("lambda_healthy") == 1
    healthy = get(port, "/healthz")
    assert (healthy.status_code, healthy.json()) == (200, {"status": "ok"} | about)
    assert healthy.text.count("\n") == 1
    monitor.pulse.waits("postgresql://writer:hunter2@db/x is away")
    waiting = get(port, "/healthz")
    assert waiting.status_code == 200
    assert waiting.json() == {"status": "waiting", "reason": "postgresql://writer:***@db/x is away"} | about


def test_a_stuck_daemon_is_answered_with_503() -> None:
    now = [0.0]
    monitor = Monitor("ingest", pulse=Pulse(60.0, lambda: now[0]))
    monitor.pulse.beat()
    now[0] = 61.0
    status, content = monitor.health()
    assert status == 503
    assert json.loads(content)["reason"] == "loop has not gone on for 61 s"


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd", "/healthz%00", "/healthz/metrics"])
def test_there_is_nothing_else(monitor: Monitor, port: int, path: str) -> None:
    assert get(port, path).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_can_only_be_read(monitor: Monitor, port: int, method: str) -> None:
    assert get(port, "/metrics", method=method).status_code == 501


def test_who_asks_for_the_head_gets_no_more(monitor: Monitor, port: int) -> None:
    monitor.pulse.beat()
    answer = get(port, "/healthz", method="HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0


class Broken(Collector):
    def collect(self) -> Iterator[object]:  # type: ignore[override]
        yield from ()
        raise RuntimeError("planted")


def test_a_bug_in_a_metric_is_said_and_health_goes_on(
    monitor: Monitor, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    monitor.pulse.beat()
    monitor.registry._collector_to_names[Broken()] = []
    assert get(port, "/metrics").status_code == 500
    assert "planted" in caplog.text
    assert get(port, "/healthz").status_code == 200


# ---------------------------------------------------------------- ports


def test_the_second_daemon_takes_the_next_free_port(caplog: pytest.LogCaptureFixture, port: int) -> None:
    caplog.set_level(logging.INFO)
    with ExitStack() as stack:
        monitors = [stack.enter_context(watched("speed", "127.0.0.1", port)) for _ in range(3)]
        ports = metrics_ports(caplog)
        assert ports[0] == port
        assert len(set(ports)) == 3
        assert all(port < other < port + endpoint.PORTS for other in ports[1:])
        monitors[2].pulse.beat()
        assert [get(other, "/healthz").status_code for other in ports] == [503, 503, 200]
    assert caplog.text.count(f"(port {port} is taken)") == 2


def test_after_its_end_the_port_is_free_again(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        with watched("speed", "127.0.0.1", port) as monitor:
            monitor.pulse.beat()
            assert get(port, "/healthz").status_code == 200
    assert metrics_ports(caplog) == [port] * 3


def test_where_no_port_is_free_the_work_goes_on_without(
    port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "PORTS", 1)
    with watched("speed", "127.0.0.1", port), watched("speed", "127.0.0.1", port) as second:
        second.pulse.beat()
        assert get(port, "/healthz").status_code == 503  # the first one's
    (warning,) = [line for line in caplog.records if line.levelno == logging.WARNING]
    assert f"{port} to {port} at 127.0.0.1 are taken" in warning.getMessage()
    assert "LAMBDA_SPEED_METRICS_PORT" in warning.getMessage()


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_where_the_address_is_not_this_machines_the_work_goes_on_without(
    port: int, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    with watched("ingest", host, port) as monitor:
        assert monitor.health()[0] == 503
    (warning,) = [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]
    assert host in warning
    assert "LAMBDA_METRICS_HOST" in warning


def test_nothing_is_served_without_a_port(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with watched("speed", "127.0.0.1", 0):
        assert not any(thread.name == "endpoint" for thread in threading.enumerate())
    assert "metrics" not in caplog.text


# ---------------------------------------------------------------- whoever asks badly


def answering() -> int:
    """How many threads answer somebody."""
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_many_who_never_finish_asking_take_few_threads_and_only_for_a_while(monitor: Monitor, port: int) -> None:
    monitor.pulse.beat()
    assert wait_until(lambda: answering() == 0, 10)  # who asked before
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    try:
        assert wait_until(lambda: answering() == endpoint._MOST_AT_ONCE, 10)
        answered: list[int] = []

        def is_answered() -> bool:
            try:
                answered.append(get(port, "/healthz").status_code)
            except requests.RequestException:
                return False
            return True

        assert wait_until(is_answered, 60, interval=0.2)
        assert answered == [200]
    finally:
        for connection in slow:
            connection.close()
    assert wait_until(lambda: answering() == 0, 10)
