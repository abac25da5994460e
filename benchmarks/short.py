"""A short look at each layer's work: the figures that `make bench-quick` prints and `make bench-compare` compares."""

from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks.commit_path import bench_commit, bench_plain_copy
from benchmarks.flood import run_flood
from benchmarks.load import LoadedTopic, load_topic
from benchmarks.observations import Stream, make_city
from benchmarks.publish import bench_publish
from benchmarks.servers import Servers

LOCATIONS = 1_000
BATCH, BATCHES = 2_000, 50
FLOOD_RECORDS = 200_000
RAW_ROWS = 200_000
COMMIT, PUBLISH, FLOOD = "speed commit, 2,000 a batch", "publish of raw rows", "speed daemon, a flood through Kafka"
BESIDE = {COMMIT: "plain COPY", PUBLISH: "one bare aggregation"}
"""What stands beside a figure, and is a figure itself."""

CITY = make_city(LOCATIONS)


@dataclass(frozen=True)
class Look:
    """What every round uses: the servers, a stream of observations, and a topic that holds the first of them."""

    servers: Servers
    stream: Stream
    loaded: LoadedTopic


def prepare(servers: Servers) -> Look:
    """Fill the topic, so that no round pays for a producer."""
    stream = Stream(CITY, datetime(2025, 6, 1, tzinfo=UTC))
    return Look(servers, stream, load_topic(servers.connection, servers.name("short"), stream, FLOOD_RECORDS))


def measure(look: Look) -> dict[str, float]:
    """Rows or observations a second by what was measured; more is better."""
    ours, bare = bench_publish(look.servers, RAW_ROWS)
    return {
        COMMIT: bench_commit(look.servers, look.stream, BATCH, BATCHES),
        BESIDE[COMMIT]: bench_plain_copy(look.servers, look.stream, BATCH, BATCHES),
        PUBLISH: ours,
        BESIDE[PUBLISH]: bare,
        FLOOD: run_flood(look.servers, look.loaded).rate,
    }
