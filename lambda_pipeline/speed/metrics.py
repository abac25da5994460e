"""What Prometheus is told of the speed layer. Everything is counted a commit at a time, never a record at a time."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kafka.errors import KafkaError
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lambda_pipeline.errors import BrokerUnavailableError, DatabaseUnavailableError
from lambda_pipeline.speed.committer import Outcome

_SAMPLED = 100  # observations of a commit whose way is timed
_RECORDS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 50_000)
_COMMIT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_END_TO_END = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 21_600, 86_400)


class Standing(NamedTuple):
    """Where a partition stands: its stored offset, and its log's end, None where that is not known yet."""

    stored: int
    end: int | None


class SpeedMetrics(Collector):
    """Counts of this process since its start, and where its partitions stand. Safe to share between threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Registers itself."""
        self._standing: Mapping[int, Standing] = {}
        self._records = Counter("lambda_speed_records", "Records of committed batches.", registry=registry)
        self._gained = Counter(
            "lambda_speed_observations_gained",
            "Observations that the speed layer holds more; the others were there, or were published already.",
            registry=registry,
        )
        self._dead_letters = Counter(
            "lambda_speed_dead_letters", "Records that were no valid observations.", registry=registry
        )
        self._batch = Histogram(
            "lambda_speed_batch_records", "Records of one commit.", buckets=_RECORDS, registry=registry
        )
        self._commit = Histogram(
            "lambda_speed_commit_seconds", "Time of the attempt that committed.", buckets=_COMMIT, registry=registry
        )
        self._end_to_end = Histogram(
            "lambda_speed_end_to_end_seconds",
            "Time from an observation's slot, when its poll began, to its commit; of up to 100 of each commit.",
            buckets=_END_TO_END,
            registry=registry,
        )
        self._refused = Counter(
            "lambda_speed_refused_commits",
            "Batches of which records were dropped: another consumer has them (offsets), or they were judged by an "
            "old catalogue. They are read again by whoever has the partition.",
            ["reason"],
            registry=registry,
        )
        self._conflicts = Counter(
            "lambda_speed_conflicts", "Commits that lost against another transaction, and were tried again.",
            registry=registry,
        )  # fmt: skip
        self._waits = Counter(
            "lambda_speed_waits", "Attempts after which was waited, by the server that did not answer.", ["server"],
            registry=registry,
        )  # fmt: skip
        for reason in ("offsets", "catalogue"):
            self._refused.labels(reason)
        for server in ("postgresql", "kafka", "other"):
            self._waits.labels(server)
        registry.register(self)

    def settled(self, outcome: Outcome) -> None:
        """A batch is done with."""
        if outcome.refused:
            self._refused.labels("catalogue" if outcome.is_outdated else "offsets").inc()
        batch = outcome.committed
        if not batch.moves:
            return
        records = len(batch.observations) + len(batch.dead_letters)
        self._records.inc(records)
        self._batch.observe(records)
        self._commit.observe(outcome.seconds)
        self._gained.inc(outcome.gained)
        self._dead_letters.inc(len(batch.dead_letters))
        step = -(-len(batch.observations) // _SAMPLED) or 1
        for one in batch.observations[::step]:
            self._end_to_end.observe(max(outcome.at - one.observation.timestamp.timestamp(), 0.0))

    def waited(self, error: Exception) -> None:
        """A server did not answer."""
        server = "other"
        if isinstance(error, DatabaseUnavailableError):
            server = "postgresql"
        elif isinstance(error, BrokerUnavailableError | KafkaError):
            server = "kafka"
        self._waits.labels(server).inc()

    def conflicted(self) -> None:
        """A commit lost against another transaction."""
        self._conflicts.inc()

    def stand(self, standing: Mapping[int, Standing]) -> None:
        """Where the partitions (by number) stand that are held now; those of before are others' to tell about."""
        self._standing = standing

    def collect(self) -> Iterable[Metric]:
        """Where the partitions stand; the rest are collectors of their own."""
        standing = self._standing
        held = GaugeMetricFamily("lambda_speed_partitions", "Partitions that this daemon reads.", value=len(standing))
        stored = GaugeMetricFamily(
            "lambda_speed_stored_offset", "The next offset to commit, as PostgreSQL has it.", labels=["partition"]
        )
        end = GaugeMetricFamily(
            "lambda_speed_log_end_offset", "The offset that the partition's next record gets.", labels=["partition"]
        )
        lag = GaugeMetricFamily(
            "lambda_speed_lag_records", "Records in the partition that are not committed.", labels=["partition"]
        )
        for number, found in sorted(standing.items()):
            stored.add_metric([str(number)], found.stored)
            if found.end is not None:
                end.add_metric([str(number)], found.end)
                lag.add_metric([str(number)], max(found.end - found.stored, 0))
        return held, stored, end, lag
