"""`lambda-pipeline demo` as a newcomer meets it: it runs, it serves, it adds up, it stops, and nothing is left."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from lambda_pipeline.local.home import free_port
from lambda_pipeline.local.processes import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
START_SECONDS = 240.0  # on a busy machine; on an idle one it takes half a minute
STOP_SECONDS = 60.0
HEALTHY_SECONDS = 120.0  # Dagster's daemon signs that it lives some time after its start


@pytest.fixture
def environment(tmp_path: Path, jars_cache: Path) -> dict[str, str]:
    """A data folder of its own, ports that nobody uses, and none of the machine's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAMBDA_", "KAFKA_", "DATABASE"))}
    return kept | {
        "LAMBDA_HOME": str(tmp_path / "home"),
        "LAMBDA_CACHE": str(jars_cache),
        "LAMBDA_DASHBOARD_PORT": str(free_port()),
        "LAMBDA_DAGSTER_PORT": str(free_port()),
    }


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of ours, to its end."""
    command = [sys.executable, "-m", "lambda_pipeline", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)


def left_over(home: Path) -> list[str]:
    """Processes that name the data folder in their command or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            about = [*process.cmdline(), process.environ().get("LAMBDA_HOME", "")]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(home) in part for part in about):
            found.append(" ".join(about)[:200])
    return found


def test_once_adds_up_and_so_does_a_second_time(environment: dict[str, str]) -> None:
    for _ in range(2):
        done = run(environment, "demo", "--once")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        hours = re.findall(
            r"│ \d{4}-\d\d-\d\d \d\d:\d\d WIB │ +(\d+) │ +(\d+) │ +(\d+) │ +(\d+) │ adds up │", done.stdout
        )
        assert len(hours) >= 7 * 24
        produced, speed, batch, served = (sum(map(int, column)) for column in zip(*hours, strict=True))
        assert produced == served == speed + batch > 90_000
        assert "DOES NOT" not in done.stdout
    assert left_over(Path(environment["LAMBDA_HOME"])) == []
    assert "must not be mixed" in run(environment | {"TOMTOM_API_KEY": "a", "AQICN_TOKEN": "b"}, "up").stderr


def test_it_serves_dashboard_and_dagster_until_it_is_interrupted_and_leaves_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "demo.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "lambda_pipeline", "demo"], env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: "Everything runs" in log.read_text() or process.poll() is not None, START_SECONDS, 0.2)
        addresses = dict(re.findall(r"^(Dashboard|Dagster): (http\S+)$", log.read_text(), re.MULTILINE))
        assert set(addresses) == {"Dashboard", "Dagster"}, log.read_text()
        assert requests.get(f"{addresses['Dashboard']}/_stcore/health", timeout=10).ok
        assert requests.get(f"{addresses['Dagster']}/server_info", timeout=10).ok
        second = run(environment, "demo")
        assert (second.returncode, f"in use by pid {process.pid}" in second.stderr) == (1, True)
        wait_until(lambda: run(environment, "status").returncode == 0, HEALTHY_SECONDS, 1.0)
        status = run(environment, "status", "--json")
        assert status.returncode == 0, status.stdout + status.stderr
        assert f"(pid {process.pid})" in status.stdout
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
    assert wait_until(lambda: left_over(Path(environment["LAMBDA_HOME"])) == [], 10), left_over(
        Path(environment["LAMBDA_HOME"])
    )
