"""Taking in so many bytes of values at a time."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kafka import TopicPartition

from lambda_pipeline.stream.intake import Intake

LEFT, RIGHT = TopicPartition("observations", 0), TopicPartition("observations", 1)


class Record(NamedTuple):
    """What of a record matters here."""

    offset: int
    value: Any


class FakeConsumer:
    """Unpacks values one by one, those of a batch before its position too, as Kafka's client does."""

    def __init__(self, intake: Intake, log: dict[TopicPartition, Sequence[bytes | None]], batch: int = 1) -> None:
        self.intake, self.log, self.batch = intake, log, batch
        self.positions = dict.fromkeys(log, 0)
        self.asked: list[int] = []
        self.sought: list[tuple[TopicPartition, int]] = []
        self.away: set[TopicPartition] = set()
        self._unpacked = dict.fromkeys(log, 0)  # where the client goes on in the batches that it has

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        assert timeout_ms == 100
        self.asked.append(max_records)
        polled: dict[TopicPartition, list[Record]] = {}
        for tp, values in self.log.items():
            while self.positions[tp] < len(values) and sum(map(len, polled.values())) < max_records:
                offset = self._unpacked[tp]
                value = self.intake.deserialize(tp.topic, [], values[offset])
                self._unpacked[tp] += 1
                if offset == self.positions[tp]:
                    self.positions[tp] += 1
                    polled.setdefault(tp, []).append(Record(offset, value))
        return polled

    def seek(self, tp: TopicPartition, offset: int) -> None:
        if tp in self.away:
            raise ValueError("Unassigned partition")
        self.sought.append((tp, offset))
        self.positions[tp], self._unpacked[tp] = offset, offset - offset % self.batch


def taken(intake: Intake, consumer: FakeConsumer, max_records: int = 1000) -> list[tuple[int, int]]:
    """(partition, offset) of what one poll brings, each with its own value."""
    polled = intake.poll(consumer, 100, max_records)
    assert all(records for records in polled.values())
    assert all(one.value == consumer.log[tp][one.offset] for tp, records in polled.items() for one in records)
    return [(tp.partition, one.offset) for tp, records in polled.items() for one in records]


def of(size: int, count: int = 1) -> list[bytes | None]:
    return [b"x" * size] * count


def offsets(found: Iterable[tuple[int, int]]) -> list[int]:
    return [offset for _, offset in found]


def test_small_values_come_as_many_as_asked_for_from_the_first_poll_on() -> None:
    intake = Intake(1000)
    consumer = FakeConsumer(intake, {LEFT: of(1, 300), RIGHT: of(1, 300)})
    assert len(taken(intake, consumer, 400)) == 400
    assert len(taken(intake, consumer, 400)) == 200
    assert (consumer.asked, consumer.sought) == ([400, 400], [])


def test_what_does_not_fit_is_read_again_and_nothing_is_left_out() -> None:
    intake = Intake(1000)
    consumer = FakeConsumer(intake, {LEFT: of(300, 5), RIGHT: of(300, 2)})
    assert taken(intake, consumer) == [(0, 0), (0, 1), (0, 2)]
    assert consumer.sought == [(LEFT, 3), (RIGHT, 0)]
    assert taken(intake, consumer) == [(0, 3), (0, 4), (1, 0)]
    assert taken(intake, consumer) == [(1, 1)]
    assert consumer.asked == [1000, 3, 3]
    assert len(consumer.sought) == 2


def test_a_value_larger_than_the_bound_comes_alone() -> None:
    intake = Intake(1000)
    consumer = FakeConsumer(intake, {LEFT: [*of(10), *of(5000, 2), None, *of(10)]})
    assert [offsets(taken(intake, consumer)) for _ in range(5)] == [[0], [1], [2], [3], [4]]


def test_after_large_values_it_asks_for_twice_as_many_each_time_while_values_are_small() -> None:
    intake = Intake(1000)
    consumer = FakeConsumer(intake, {LEFT: [*of(1000, 2), *of(2, 500)]})
    found = [offset for _ in range(12) for offset in offsets(taken(intake, consumer, 100))]
    assert found == list(range(429))
    assert consumer.asked == [100, 1, 1, 2, 4, 8, 16, 32, 64, 100, 100, 100]


def test_few_that_are_asked_for_are_no_reason_to_ask_for_few() -> None:
    intake = Intake(1000)
    consumer = FakeConsumer(intake, {LEFT: of(1, 200)})
    assert len(taken(intake, consumer, 5)) == 5
    assert len(taken(intake, consumer, 100)) == 100


def test_a_batch_whose_beginning_alone_is_too_large_is_read_to_its_end() -> None:
    """After going back into it, the client unpacks also what lies before."""
    intake = Intake(1000)
    consumer = FakeConsumer(intake, {LEFT: of(300, 10)}, batch=10)
    found: list[int] = []
    for _ in range(12):
        found += offsets(taken(intake, consumer))
    assert found == list(range(10))
    assert len(consumer.sought) == 2


def test_a_partition_that_was_taken_away_meanwhile_is_let_go() -> None:
    intake = Intake(1000)
    consumer = FakeConsumer(intake, {LEFT: of(600, 2)})
    consumer.away.add(LEFT)
    assert offsets(taken(intake, consumer)) == [0]
    assert consumer.sought == []
