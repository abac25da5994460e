"""The group's offsets in Kafka: what is stored, until the broker has taken it."""

from collections.abc import Callable

import pytest
from kafka import TopicPartition
from kafka.errors import CommitFailedError, KafkaTimeoutError, RebalanceInProgressError
from kafka.structs import OffsetAndMetadata

from lambda_pipeline.speed.group_offsets import GroupOffsets

Offsets = dict[TopicPartition, OffsetAndMetadata]


class FakeConsumer:
    """Remembers commits by partition number, and answers when the test says so."""

    def __init__(self) -> None:
        self.commits: list[dict[int, int]] = []
        self.answer: Callable[[object], None] = lambda _: None
        self.failure: Exception | None = None
        self.milliseconds = 0.0

    def commit_async(self, offsets: Offsets, callback: Callable[[Offsets, object], None]) -> None:
        self.commits.append({tp.partition: found.offset for tp, found in offsets.items()})
        self.answer = lambda answer: callback(offsets, answer)

    def commit(self, offsets: Offsets, timeout_ms: float) -> None:
        self.commits.append({tp.partition: found.offset for tp, found in offsets.items()})
        self.milliseconds = timeout_ms
        if self.failure is not None:
            raise self.failure


class Stage:
    """Offsets of a group whose clock stands still."""

    def __init__(self) -> None:
        self.now = 100.0
        self.consumer = FakeConsumer()
        self.offsets = GroupOffsets(self.consumer, "observations", lambda: self.now)

    def report_after(self, seconds: float) -> None:
        self.now += seconds
        self.offsets.report()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_what_is_stored_is_told_once(stage: Stage) -> None:
    stage.offsets.report()
    stage.offsets.note({0: 5, 1: 7})
    stage.offsets.report()
    stage.consumer.answer(None)
    stage.report_after(5)
    assert stage.consumer.commits == [{0: 5, 1: 7}]


def test_it_tells_every_second_at_most(stage: Stage) -> None:
    for offset in range(5):
        stage.offsets.note({0: offset})
        stage.report_after(0.5)
        stage.consumer.answer(None)
    assert stage.consumer.commits == [{0: 0}, {0: 2}, {0: 4}]


@pytest.mark.parametrize("answer", [CommitFailedError(), RebalanceInProgressError()])
def test_what_the_broker_did_not_take_is_told_again(stage: Stage, answer: Exception) -> None:
    stage.offsets.note({0: 5})
    stage.offsets.report()
    stage.consumer.answer(answer)
    stage.report_after(1)
    assert stage.consumer.commits == [{0: 5}, {0: 5}]


def test_while_an_answer_is_out_nothing_is_told_until_it_counts_as_lost(stage: Stage) -> None:
    stage.offsets.note({0: 5})
    stage.offsets.report()
    stage.report_after(9)
    assert stage.consumer.commits == [{0: 5}]
    stage.report_after(1)
    assert stage.consumer.commits == [{0: 5}, {0: 5}]


def test_what_was_stored_since_is_told_as_well(stage: Stage) -> None:
    stage.offsets.note({0: 5})
    stage.offsets.report()
    stage.offsets.note({0: 6})
    stage.consumer.answer(None)
    stage.report_after(1)
    assert stage.consumer.commits == [{0: 5}, {0: 6}]


def test_a_partition_that_was_given_away_is_not_told_about(stage: Stage) -> None:
    stage.offsets.note({0: 5, 1: 7})
    stage.offsets.forget([0])
    stage.offsets.report()
    assert stage.consumer.commits == [{1: 7}]


@pytest.mark.parametrize("failure", [None, KafkaTimeoutError()])
def test_at_the_end_it_tells_what_is_due_and_waits_so_long(stage: Stage, failure: Exception | None) -> None:
    stage.consumer.failure = failure
    stage.offsets.note({0: 5})
    stage.offsets.close(0.5)
    assert (stage.consumer.commits, stage.consumer.milliseconds) == ([{0: 5}], 500)


def test_at_the_end_there_may_be_nothing_to_tell(stage: Stage) -> None:
    stage.offsets.note({0: 5})
    stage.offsets.report()
    stage.consumer.answer(None)
    stage.offsets.close(0.5)
    assert stage.consumer.commits == [{0: 5}]
