"""What Prometheus is told of ingest: what is counted anyhow, read when somebody asks. A poll costs nothing more."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lambda_pipeline.ingestion.counters import (
    BUG,
    FAILED,
    LATE,
    MISSED,
    OK,
    OVERLAP,
    POLL,
    PUBLISHABLE,
    SPOOL_FULL,
    PollCounters,
)
from lambda_pipeline.ingestion.publisher import Publisher
from lambda_pipeline.ingestion.quota import Used
from lambda_pipeline.ingestion.source_errors import ErrorKind
from lambda_pipeline.ingestion.spool import Spool

_RESULTS = (PUBLISHABLE, FAILED, BUG)
_REASONS = (LATE, OVERLAP, SPOOL_FULL, ErrorKind.QUOTA.value)
_KINDS = (*(kind.value for kind in ErrorKind), BUG)


class IngestMetrics(Collector):
    """Counts as they are at the moment. Every series is there from the start, so that its first rise is seen."""

    def __init__(
        self,
        counters: PollCounters,
        publisher: Publisher,
        spool: Spool,
        used: Callable[[], Mapping[str, Used]],
        *,
        demand: Mapping[str, int],
        interval: timedelta,
    ) -> None:
        """`demand` says how many locations each API is asked about, every `interval`; `used` gives today's requests."""
        self._counters, self._publisher, self._spool, self._used = counters, publisher, spool, used
        self._demand, self._interval = demand, interval

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        counts = self._counters.snapshot()
        yield from self._polls(counts)
        yield from self._sources(counts)
        yield from self._quotas()
        yield from self._log()

    def _polls(self, counts: Mapping[tuple[str, str], int]) -> Iterable[Metric]:
        polls = CounterMetricFamily(
            "lambda_ingest_polls",
            "Polls of one location that ended: publishable, failed (neither API gave anything), unexpected (a bug).",
            labels=["result"],
        )
        for result in _RESULTS:
            polls.add_metric([result], counts.get((POLL, result), 0))
        missed = CounterMetricFamily(
            "lambda_ingest_polls_missed", "Polls that were not made, by why.", labels=["reason"]
        )
        for reason in _REASONS:
            missed.add_metric([reason.replace(" ", "_")], counts.get((MISSED, reason), 0))
        interval = GaugeMetricFamily(
            "lambda_ingest_poll_interval_seconds", "Time between two polls of a location.",
            value=self._interval.total_seconds(),
        )  # fmt: skip
        return polls, missed, interval

    def _sources(self, counts: Mapping[tuple[str, str], int]) -> Iterable[Metric]:
        answers = CounterMetricFamily("lambda_ingest_answers", "Usable answers of an API.", labels=["source"])
        errors = CounterMetricFamily(
            "lambda_ingest_errors",
            "Halves of observations that are missing, by why. Not asked at all: busy, open, quota.",
            labels=["source", "kind"],
        )
        locations = GaugeMetricFamily(
            "lambda_ingest_locations", "Locations that an API is asked about.", labels=["source"]
        )
        for source, number in self._demand.items():
            answers.add_metric([source], counts.get((source, OK), 0))
            locations.add_metric([source], number)
            for kind in _KINDS:
                errors.add_metric([source, kind], counts.get((source, kind), 0))
        return answers, errors, locations

    def _quotas(self) -> Iterable[Metric]:
        used = GaugeMetricFamily(
            "lambda_ingest_quota_used_requests", "Requests made since midnight, UTC.", labels=["source"]
        )
        limit = GaugeMetricFamily(
            "lambda_ingest_quota_limit_requests", "Requests that a UTC day may have; only of an API with a quota.",
            labels=["source"],
        )  # fmt: skip
        left = GaugeMetricFamily(
            "lambda_ingest_quota_left_requests", "Requests that are left until midnight, UTC.", labels=["source"]
        )
        for source, found in self._used().items():
            used.add_metric([source], found.used)
            if found.limit is not None:
                limit.add_metric([source], found.limit)
                left.add_metric([source], max(found.limit - found.used, 0))
        return used, limit, left

    def _log(self) -> Iterable[Metric]:
        counts = self._publisher.counts()
        counters = {
            "lambda_ingest_observations_delivered": ("Observations that Kafka acknowledged.", counts.delivered),
            "lambda_ingest_observations_refused": ("Observations that Kafka refused for themselves.", counts.refused),
        }
        gauges = {
            "lambda_ingest_spool_observations": ("Observations on disk that wait for Kafka.", counts.spooled),
            "lambda_ingest_spool_bytes": ("Size of what the spool holds, refused ones included.", self._spool.bytes),
            "lambda_ingest_spool_limit_bytes": ("Size at which polling pauses.", self._spool.max_bytes),
            "lambda_ingest_memory_observations": ("Observations that are not on disk yet.", counts.in_memory),
            "lambda_ingest_kafka_up": (
                "Whether all that waited for Kafka was sent since it was last away.",
                not self._publisher.is_kafka_away,
            ),
        }
        for name, (text, number) in counters.items():
            yield CounterMetricFamily(name, text, value=number)
        for name, (text, number) in gauges.items():
            yield GaugeMetricFamily(name, text, value=number)
