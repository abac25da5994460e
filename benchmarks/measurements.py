"""Every measurement by name: each takes the bench and gives figures, of which several rounds are collected."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.commit_path import bench_commit, bench_plain_copy
from benchmarks.fill import make_filled
from benchmarks.first_system import run_first_system
from benchmarks.flood import Flood, run_flood
from benchmarks.latency import run_latency
from benchmarks.load import LoadedTopic
from benchmarks.observations import Stream
from benchmarks.peers_run import QUIX_SETTINGS, run_consumption, run_quix
from benchmarks.report import percentile
from benchmarks.servers import Servers
from lambda_pipeline.speed.consumer import SpeedOptions

Figures = dict[str, float]
COMMIT_BATCH = 2_000
FLOOD_BATCH = SpeedOptions("").max_records
REALTIME_ROWS = 1_000_000
RAW_ROWS = (0, 1_000_000, 10_000_000)


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    records: int = 1_000_000
    locations: int = 10_000
    first_system_messages: int = 4_000
    commit_batches: int = 100
    latency_seconds: int = 60
    raw_rows: tuple[int, ...] = RAW_ROWS
    realtime_rows: int = REALTIME_ROWS


QUICK = Scale(150_000, 10_000, 500, 20, 8, (0, 100_000), 100_000)


@dataclass
class Bench:
    """What a measurement needs: the servers, the loaded topic, its stream, the scale, and the peers' interpreter."""

    servers: Servers
    loaded: LoadedTopic
    stream: Stream
    scale: Scale
    peers: Path | None
    filled: dict[int, str] = field(default_factory=dict)  # raw rows: the template database that holds them


def flood(bench: Bench) -> Figures:
    """One daemon over the whole topic."""
    found = run_flood(bench.servers, bench.loaded)
    return {
        "flood": found.rate,
        "flood.memory": max(found.memory),
        "flood.growth": found.growth,
        **{f"flood.cores.{name}": cores for name, cores in found.cores.items()},
    }


def several_daemons(name: str, daemons: int) -> Callable[[Bench], Figures]:
    """So many daemons in one group, from when all have committed to the end of the topic."""

    def measure(bench: Bench) -> Figures:
        found: Flood = run_flood(bench.servers, bench.loaded, daemons=daemons)
        return {name: found.rate, **{f"{name}.cores.{party}": cores for party, cores in found.cores.items()}}

    return measure


def filled(bench: Bench) -> Figures:
    """One daemon where a million rows are in realtime_data already and none, one or ten million in raw_data."""
    figures = {}
    for rows in bench.scale.raw_rows:
        if rows not in bench.filled:
            made = make_filled(bench.servers, bench.stream.start, rows, bench.scale.realtime_rows)
            bench.filled[rows] = made.name
        figures[f"filled.{rows}"] = run_flood(bench.servers, bench.loaded, template=bench.filled[rows]).rate
    return figures


def first_system(bench: Bench) -> Figures:
    """The first system's way, with a pool and with a connection a message."""
    servers, loaded, messages = bench.servers, bench.loaded, bench.scale.first_system_messages
    return {
        "first": run_first_system(servers, loaded, messages // 4, pooled=False),
        "first.pooled": run_first_system(servers, loaded, messages, pooled=True),
    }


def copy(bench: Bench) -> Figures:
    """A plain COPY, and the commit path without Kafka: by as many a commit, and by as many as the daemon in a flood."""
    size = (COMMIT_BATCH, bench.scale.commit_batches)
    flood_batches = max(2, COMMIT_BATCH * bench.scale.commit_batches // FLOOD_BATCH)
    return {
        "copy": bench_plain_copy(bench.servers, bench.stream, *size),
        "commit": bench_commit(bench.servers, bench.stream, *size),
        "commit.flood": bench_commit(bench.servers, bench.stream, FLOOD_BATCH, flood_batches),
    }


def quix(bench: Bench) -> Figures:
    """quixstreams' PostgreSQL sink with each of its settings, where .venv-bench is there."""
    figures = {}
    for settings in QUIX_SETTINGS if bench.peers else ():
        found = run_quix(bench.servers, bench.loaded, bench.loaded.records, settings, bench.peers)
        figures[f"quix.{settings}"] = found.rate
        figures[f"quix.{settings}.without_aqi"] = found.without_aqi
    return figures


def clients(bench: Bench) -> Figures:
    """Both Kafka clients alone: records handed over, and each of them decoded."""
    figures = {}
    for name, python in {"python": None, "c": bench.peers}.items():
        if name == "python" or python:
            for suffix, decode in {"": False, ".decoded": True}.items():
                rate = run_consumption(bench.servers, bench.loaded, python, decode=decode)
                figures[f"client.{name}{suffix}"] = rate
    return figures


def latency(bench: Bench) -> Figures:
    """Produced to served at a hundred and at a thousand a second."""
    figures = {}
    for rate in (100, 1_000):
        found = run_latency(bench.servers, bench.stream.start, rate, bench.scale.latency_seconds)
        for name, share in {"p50": 0.5, "p99": 0.99, "max": 1.0}.items():
            figures[f"latency.{rate}.{name}"] = percentile(found, share)
    return figures


MEASUREMENTS: dict[str, Callable[[Bench], Figures]] = {
    "flood": flood,
    "first": first_system,
    "copy": copy,
    "quix": quix,
    "clients": clients,
    "two": several_daemons("two", 2),
    "four": several_daemons("four", 4),
    "filled": filled,
    "latency": latency,
}
NEEDED = {"first": "flood", "copy": "flood", "quix": "flood", "two": "flood", "four": "flood"}  # to be a ratio to
