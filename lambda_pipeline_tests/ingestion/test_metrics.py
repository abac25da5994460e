"""What Prometheus is told of ingest, from the parts that count."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kafka.errors import KafkaConnectionError
from prometheus_client import CollectorRegistry

from lambda_pipeline.ingestion.counters import MISSED, OK, POLL, PUBLISHABLE, SPOOL_FULL, PollCounters
from lambda_pipeline.ingestion.metrics import IngestMetrics
from lambda_pipeline.ingestion.publisher import Publisher
from lambda_pipeline.ingestion.quota import QuotaLedger
from lambda_pipeline.ingestion.source_errors import ErrorKind
from lambda_pipeline.ingestion.spool import Spool
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline_tests.ingestion.fake_kafka import DEADLINE, FakeBroker, seen

NOW = datetime(2025, 3, 5, 1, tzinfo=UTC)


class Stage:
    """The parts of a daemon that count, on a broker that answers as told."""

    def __init__(self, folder: Path) -> None:
        self.broker = FakeBroker()
        self.counters = PollCounters()
        self.ledger = QuotaLedger(folder / "quota.json", {"tomtom": 5, "aqicn": None}, lambda: NOW)
        self.spool = Spool(folder / "spool.db", 1 << 20)
        self.publisher = Publisher({}, "t", self.spool, producer=self.broker, retry_after=0.05)
        self.registry = CollectorRegistry(auto_describe=True)
        self.registry.register(
            IngestMetrics(
                self.counters, self.publisher, self.spool, self.ledger.used,
                demand={"tomtom": 9, "aqicn": 7}, interval=timedelta(minutes=6),
            )
        )  # fmt: skip

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"lambda_ingest_{name}", labels)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.publisher.close()


def test_every_series_is_there_before_anything_happens(stage: Stage) -> None:
    assert stage.value("polls_total", result="publishable") == 0
    assert stage.value("polls_missed_total", reason="spool_full") == 0
    for source in ("tomtom", "aqicn"):
        assert stage.value("answers_total", source=source) == 0
        kinds = [*(kind.value for kind in ErrorKind), "unexpected"]
        assert [stage.value("errors_total", source=source, kind=kind) for kind in kinds] == [0] * len(kinds)
    assert stage.value("locations", source="tomtom") == 9
    assert stage.value("poll_interval_seconds") == 360
    assert stage.value("kafka_up") == 1


def test_polls_and_errors_are_told_as_they_are_counted(stage: Stage) -> None:
    stage.counters.add(POLL, PUBLISHABLE, 3)
    stage.counters.add(MISSED, SPOOL_FULL, 4)
    stage.counters.add("tomtom", OK, 2)
    stage.counters.add("tomtom", ErrorKind.TIMEOUT)
    assert stage.value("polls_total", result="publishable") == 3
    assert stage.value("polls_missed_total", reason="spool_full") == 4
    assert stage.value("answers_total", source="tomtom") == 2
    assert stage.value("errors_total", source="tomtom", kind="timeout") == 1
    assert stage.value("errors_total", source="aqicn", kind="timeout") == 0


def test_an_api_without_a_quota_has_no_limit(stage: Stage) -> None:
    for source in ("tomtom", "tomtom", "aqicn"):
        assert stage.ledger.spend(source)
    assert stage.value("quota_used_requests", source="tomtom") == 2
    assert stage.value("quota_left_requests", source="tomtom") == 3
    assert stage.value("quota_limit_requests", source="tomtom") == 5
    assert stage.value("quota_used_requests", source="aqicn") == 1
    assert stage.value("quota_limit_requests", source="aqicn") is None
    assert stage.value("quota_left_requests", source="aqicn") is None


def test_the_spool_fills_while_kafka_is_away_and_empties_when_it_is_back(stage: Stage) -> None:
    stage.broker.away = KafkaConnectionError()
    for number in range(5):
        stage.publisher.publish(seen(number))
    assert wait_until(lambda: stage.value("spool_observations") == 5 and stage.value("kafka_up") == 0, DEADLINE)
    assert stage.value("spool_bytes") == stage.spool.bytes > 5 * 50
    assert stage.value("spool_limit_bytes") == 1 << 20
    assert stage.value("memory_observations") == 0
    assert stage.value("observations_delivered_total") == 0
    stage.broker.away = None
    assert wait_until(lambda: stage.value("kafka_up") == 1, DEADLINE)
    assert stage.value("observations_delivered_total") == 5
    assert stage.value("spool_observations") == 0
    assert stage.value("spool_bytes") == 0
