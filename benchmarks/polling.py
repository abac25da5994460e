"""`python -m benchmarks.polling`: how many polls a second one ingest process makes on one core, and what limits it.

The simulator answers for 10,000 generated locations in a process and on a core of its own. Measured, medians of 3:

- what one request costs in CPU time: by a bare socket, by `requests`, by our client;
- the simulator's own ceiling, which bounds whatever is measured against it;
- the ingest path (schedule, lanes, clients, encoding; a publisher that counts) at one poll a minute per location: CPU,
  lateness and memory;
- the same asked for more than it can give: polls a second at full load.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from lambda_pipeline.domain.catalogue import City, Location, load_city
from lambda_pipeline.domain.observation import ObservationMessage, encode
from lambda_pipeline.ingestion import daemon
from lambda_pipeline.ingestion.aqicn import AqicnClient
from lambda_pipeline.ingestion.http import HttpPolicy, create_session
from lambda_pipeline.ingestion.poller import Done, Poller, workers_for
from lambda_pipeline.ingestion.tomtom import TomTomClient
from lambda_pipeline.local.home import free_port

RUNS = 3
LOCATIONS = 10_000
STEADY, FULL = 60, 10  # seconds between polls of a location: what is wanted, and more than one core gives
CALLS = 1_000
WINDOW = 20.0  # seconds


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--locations", type=int, default=LOCATIONS)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "URL", "CITY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(_child(*arguments.child)))
        return
    print(f"Python {platform.python_version()}, {platform.machine()}; medians of {arguments.runs} runs")
    with tempfile.TemporaryDirectory() as folder:
        city = Path(folder) / "city.toml"
        city.write_text(catalogue(arguments.locations), encoding="utf-8")
        with simulator(city) as url:
            costs, steady, full = (
                _medians([_spawn(what, url, city) for _ in range(arguments.runs)])
                for what in ("costs", "steady", "full")
            )
    _report(arguments.locations, costs, steady, full)


def catalogue(locations: int) -> str:
    """A city of so many places on a grid, each with a station and a point."""
    lines = ['name = "Benchmark"', 'timezone = "Asia/Jakarta"']
    for number in range(locations):
        row, column = divmod(number, 100)
        lines += [
            "[[locations]]", f'name = "place {number:05}"', f'aqicn_station = "@{number + 1}"',
            f"latitude = {-6.0 - row * 0.005:.4f}", f"longitude = {106.5 + column * 0.005:.4f}",
        ]  # fmt: skip
    return "\n".join(lines)


@contextmanager
def simulator(city: Path) -> Iterator[str]:
    """The address of a simulator, in a process on the last core."""
    port = free_port()
    command = [sys.executable, "-m", "lambda_pipeline", "simulator", "--port", str(port)]
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(
            command, env=os.environ | {"LAMBDA_CITY": str(city), "LAMBDA_HOME": home, "LAMBDA_LOG_LEVEL": "ERROR"}
        )
        try:
            os.sched_setaffinity(process.pid, {_cores()[-1]})
            _wait_until(lambda: _listens(port))
            url = f"http://127.0.0.1:{port}"
            _stop_clock(url, load_city(city).locations[0])
            yield url
        finally:
            process.terminate()
            process.wait()


def _stop_clock(url: str, place: Location) -> None:
    """Let it be a moment ago in which the first place is in no simulated outage."""
    at = datetime.now(UTC)
    while True:
        requests.post(f"{url}/clock", json={"at": at.isoformat()}, timeout=5).raise_for_status()
        if requests.get(url + _target(place), timeout=5).status_code == 200:
            return
        at -= timedelta(minutes=5)


def _target(place: Location) -> str:
    return f"/traffic/services/4/flowSegmentData/absolute/10/json?point={place.latitude},{place.longitude}&key=k"


def _spawn(what: str, url: str, city: Path) -> dict[str, float]:
    """Measure in a fresh process on the first core."""
    command = [sys.executable, "-m", "benchmarks.polling", "--child", what, url, str(city)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _child(what: str, url: str, path: str) -> dict[str, float]:
    os.sched_setaffinity(0, {_cores()[0]})
    city = load_city(Path(path))
    if what == "costs":
        return measure_costs(url, city)
    return measure_ingest(url, city, STEADY if what == "steady" else FULL)


# ---------------------------------------------------------------- what one request costs


def measure_costs(url: str, city: City) -> dict[str, float]:
    """CPU seconds of one TomTom request made in each way by one thread, and the requests a second it got."""
    place = city.locations[0]
    target = _target(place)
    client = TomTomClient(create_session(), url, "k")
    session, pool = requests.Session(), urllib3.PoolManager()
    connection = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    question = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    def bare() -> None:
        connection.sendall(question)
        connection.recv(65_536)

    ways: dict[str, Callable[[], object]] = {
        "bare socket": bare,
        "urllib3": lambda: pool.request("GET", url + target).json(),
        "requests.Session.get": lambda: session.get(url + target, timeout=5).json(),
        "our client": lambda: client.flow(place.latitude or 0.0, place.longitude or 0.0),
    }
    found = {}
    for name, ask in ways.items():
        ask()
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(CALLS):
            ask()
        found[f"cpu {name}"] = (time.process_time() - cpu) / CALLS
        found[f"rate {name}"] = CALLS / (time.perf_counter() - started)
    found["rate simulator"] = _ceiling(url, question)
    return found


def _ceiling(url: str, question: bytes) -> float:
    """Requests a second that the simulator answers to eight bare sockets at once."""
    address = (urlsplit(url).hostname, urlsplit(url).port)
    connections = [socket.create_connection(address) for _ in range(8)]
    started = time.perf_counter()
    for _ in range(CALLS // 4):
        for connection in connections:
            connection.sendall(question)
        for connection in connections:
            connection.recv(65_536)
    return CALLS // 4 * len(connections) / (time.perf_counter() - started)


# ---------------------------------------------------------------- the ingest path


class _Recorder:
    """A poller that notes how late each poll begins."""

    def __init__(self, poller: Poller) -> None:
        self.counters = poller.counters
        self.expire = poller.expire
        self.late: list[float] = []
        self._poller = poller

    def start(self, location: Location, slot: datetime, done: Done, turn: int = 0) -> None:
        self.late.append((datetime.now(UTC) - slot).total_seconds())
        self._poller.start(location, slot, done, turn)


class _Counting:
    """A publisher that encodes and counts, and notes how old each observation is by then."""

    is_full = False

    def __init__(self) -> None:
        self.ages: list[float] = []
        self.bytes = 0

    def publish(self, message: ObservationMessage) -> None:
        self.bytes += len(encode(message))
        self.ages.append((datetime.now(UTC) - message.timestamp).total_seconds())


def measure_ingest(url: str, city: City, seconds: int) -> dict[str, float]:
    """Polls a second, CPU, lateness and memory, in a window after the start's catching up."""
    interval = timedelta(seconds=seconds)
    workers = workers_for(len(city.locations), interval)
    session = create_session(HttpPolicy(pool_size=2 * workers))
    poller = Poller(
        TomTomClient(session, url, "k"), AqicnClient(session, url, "k"), timedelta(hours=3), workers=workers
    )
    recorder, publisher, stop = _Recorder(poller), _Counting(), threading.Event()
    thread = threading.Thread(
        target=lambda: daemon.run(
            city.locations, recorder, publisher, interval=interval, now=lambda: datetime.now(UTC), stop=stop
        ),
        daemon=True,
    )
    thread.start()
    time.sleep(seconds + 5)
    before, begun, published = poller.counters.snapshot(), len(recorder.late), len(publisher.ages)
    started, cpu = time.perf_counter(), time.process_time()
    time.sleep(WINDOW)
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    after = poller.counters.snapshot()
    stop.set()
    thread.join()
    news = {key: number - before.get(key, 0) for key, number in after.items()}
    halves = news[("tomtom", "ok")] + news[("aqicn", "ok")]
    polls = news.get(("poll", "publishable"), 0)
    return {
        "polls": polls / took,
        "answers": halves / took,
        "cpu share": cpu / took,
        "cpu per poll": cpu / max(polls, 1),
        "begin p50": _percentile(recorder.late[begun:], 50), "begin p99": _percentile(recorder.late[begun:], 99),
        "published p50": _percentile(publisher.ages[published:], 50),
        "published p99": _percentile(publisher.ages[published:], 99),
        "missed": sum(number for (source, _), number in news.items() if source == "missed"),
        "busy": sum(number for (_, kind), number in news.items() if kind == "busy"),
        "threads": threading.active_count(),
        "PSS MB": _pss(),
    }  # fmt: skip


# ---------------------------------------------------------------- helpers


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else float("nan")


def _pss() -> float:
    """Megabytes of memory, the shared ones in proportion."""
    with suppress(OSError):
        for line in Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return float("nan")


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the simulator does not answer")
        time.sleep(0.05)


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _report(locations: int, costs: dict[str, float], steady: dict[str, Any], full: dict[str, Any]) -> None:
    base = costs["cpu requests.Session.get"]
    print("\none request by one thread           CPU       of requests'   requests/s")
    for name in ("bare socket", "urllib3", "requests.Session.get", "our client"):
        cost = costs[f"cpu {name}"]
        print(f"  {name:<28} {cost * 1e6:>7.0f} us {cost / base:>10.2f} {costs[f'rate {name}']:>14,.0f}")
    print(f"  the simulator's ceiling, eight bare sockets at once {costs['rate simulator']:>18,.0f}")
    for title, found in ((f"{locations} locations every {STEADY} s", steady), (f"every {FULL} s", full)):
        print(f"\n{title}: {found['polls']:,.0f} polls/s ({found['answers']:,.0f} answers/s)")
        print(f"  CPU {found['cpu share']:.0%} of a core, {found['cpu per poll'] * 1e6:,.0f} us a poll")
        print(
            f"  begins after its slot: p50 {found['begin p50']:.2f} s, p99 {found['begin p99']:.2f} s; "
            f"published: p50 {found['published p50']:.2f} s, p99 {found['published p99']:.2f} s"
        )
        print(
            f"  in {WINDOW:.0f} s: polls missed {found['missed']:.0f}, halves without a thread {found['busy']:.0f}; "
            f"{found['threads']:.0f} threads, {found['PSS MB']:.0f} MB"
        )
    two = 2 * costs["cpu our client"]
    print(f"\ntwo requests of our client are {two / steady['cpu per poll']:.0%} of a poll's CPU")


if __name__ == "__main__":
    main()
