"""What Prometheus is told of the speed layer, from the outcomes of commits."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from kafka.errors import KafkaConnectionError
from prometheus_client import CollectorRegistry

from lambda_pipeline.domain.log import DeadLetter, Incoming
from lambda_pipeline.domain.observation import Observation
from lambda_pipeline.errors import BrokerUnavailableError, DatabaseUnavailableError, TransientError
from lambda_pipeline.speed.commit import MicroBatch, Move
from lambda_pipeline.speed.committer import Outcome
from lambda_pipeline.speed.metrics import SpeedMetrics, Standing
from lambda_pipeline.storage.log_partitions import LogPartition

SLOT = datetime(2025, 3, 5, 1, tzinfo=UTC)
LEFT, RIGHT = (LogPartition(number, UUID(int=1), "observations", number - 1) for number in (1, 2))
DEAD = DeadLetter(1, 7, SLOT, None, b"{", "no JSON")


class Stage:
    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.metrics = SpeedMetrics(self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"lambda_speed_{name}", labels)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def incoming(offset: int, moment: datetime) -> Incoming:
    observation = Observation(
        "Krukut", moment, SLOT, SLOT.date(), None, None, 50, "Good", None, None, None, None, None, False, None
    )
    return Incoming(observation, "kafka", LEFT.id, offset)


def outcome(batch: MicroBatch, *, after: timedelta = timedelta(seconds=2), gained: int = 0) -> Outcome:
    return Outcome(batch, gained, frozenset(), 0.03, 1, at=(SLOT + after).timestamp())


def batch_of(count: int) -> MicroBatch:
    return MicroBatch(tuple(incoming(number, SLOT) for number in range(count)), (DEAD,), (Move(LEFT, 0, count + 1),))


def test_a_commit_is_counted_by_its_records_and_its_time(stage: Stage) -> None:
    stage.metrics.settled(outcome(batch_of(3), gained=2))
    assert stage.value("records_total") == 4
    assert stage.value("observations_gained_total") == 2
    assert stage.value("dead_letters_total") == 1
    assert (stage.value("batch_records_count"), stage.value("batch_records_sum")) == (1, 4)
    assert stage.value("batch_records_bucket", le="3.0") == 0
    assert stage.value("batch_records_bucket", le="10.0") == 1
    assert stage.value("commit_seconds_sum") == pytest.approx(0.03)
    assert stage.value("end_to_end_seconds_count") == 3
    assert stage.value("end_to_end_seconds_sum") == pytest.approx(6.0)
    assert stage.value("end_to_end_seconds_bucket", le="1.0") == 0
    assert stage.value("end_to_end_seconds_bucket", le="2.5") == 3


def test_of_a_large_commit_few_observations_are_timed_from_its_first_to_its_last(stage: Stage) -> None:
    early = tuple(incoming(number, SLOT) for number in range(1000))
    late = tuple(incoming(number, SLOT - timedelta(hours=2)) for number in range(1000, 2000))
    stage.metrics.settled(outcome(MicroBatch(early + late, (), (Move(LEFT, 0, 2000),))))
    assert stage.value("records_total") == 2000
    assert stage.value("end_to_end_seconds_count") == 100
    assert stage.value("end_to_end_seconds_bucket", le="2.5") == 50


def test_an_observation_from_a_clock_ahead_of_ours_took_no_time(stage: Stage) -> None:
    stage.metrics.settled(outcome(batch_of(1), after=timedelta(seconds=-20)))
    assert stage.value("end_to_end_seconds_sum") == 0


def test_a_batch_of_which_nothing_was_committed_is_no_commit(stage: Stage) -> None:
    for is_outdated in (False, True):
        nothing = MicroBatch((), (), ())
        stage.metrics.settled(Outcome(nothing, 0, frozenset({1}), 0.1, 1, is_outdated=is_outdated))
    assert stage.value("refused_commits_total", reason="offsets") == 1
    assert stage.value("refused_commits_total", reason="catalogue") == 1
    assert stage.value("commit_seconds_count") == 0


def test_a_batch_of_which_a_part_was_refused_is_both(stage: Stage) -> None:
    stage.metrics.settled(Outcome(MicroBatch((), (), (Move(RIGHT, 3, 4),)), 0, frozenset({1}), 0.1, 2))
    assert stage.value("refused_commits_total", reason="offsets") == 1
    assert stage.value("commit_seconds_count") == 1


@pytest.mark.parametrize(
    ("error", "server"),
    [
        (DatabaseUnavailableError("away"), "postgresql"), (BrokerUnavailableError("away"), "kafka"),
        (KafkaConnectionError("away"), "kafka"), (TransientError("?"), "other"),
    ],
)  # fmt: skip
def test_waits_are_counted_by_the_server(stage: Stage, error: Exception, server: str) -> None:
    assert stage.value("waits_total", server=server) == 0
    stage.metrics.waited(error)
    assert stage.value("waits_total", server=server) == 1
    stage.metrics.conflicted()
    assert stage.value("conflicts_total") == 1


def test_lag_is_what_the_log_holds_and_postgresql_does_not(stage: Stage) -> None:
    stage.metrics.stand({0: Standing(90, 100), 1: Standing(7, None), 2: Standing(5, 3)})
    assert stage.value("partitions") == 3
    assert stage.value("lag_records", partition="0") == 10
    assert stage.value("stored_offset", partition="1") == 7
    assert stage.value("lag_records", partition="1") is None
    assert stage.value("lag_records", partition="2") == 0
    assert stage.value("log_end_offset", partition="0") == 100


def test_a_partition_that_was_given_away_is_not_told_of_any_more(stage: Stage) -> None:
    stage.metrics.stand({0: Standing(90, 100), 1: Standing(7, 9)})
    stage.metrics.stand({1: Standing(8, 9)})
    assert stage.value("partitions") == 1
    assert stage.value("lag_records", partition="0") is None
    assert stage.value("lag_records", partition="1") == 1
