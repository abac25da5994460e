"""Putting micro-batches together."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.domain.observation import ObservationMessage, Validator, encode
from lambda_pipeline.speed import batching
from lambda_pipeline.speed.batching import BatchBuilder
from lambda_pipeline.speed.commit import Move
from lambda_pipeline.storage.log_partitions import LogPartition
from lambda_pipeline_tests.integration.observations import APPENDED, FakeRecord

LEFT, RIGHT = (LogPartition(number, UUID(int=1), "observations", number - 1) for number in (1, 2))


class Clock:
    """Seconds that pass when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def validator() -> Validator:
    city = City("Test", "Asia/Jakarta", locations=(Location("Krukut"),))
    return Validator({place.name: place for place in city.locations}, city.clock(), datetime(2025, 1, 1, tzinfo=UTC))


def record(offset: int, value: bytes | None = None) -> FakeRecord:
    """A valid record, or one of the given value."""
    message = ObservationMessage(timestamp=datetime(2025, 6, 2, 3, tzinfo=UTC), location="Krukut", aqi_value=offset)
    milliseconds = int(APPENDED.timestamp() * 1000)
    return FakeRecord("observations", 0, offset, milliseconds, b"k", encode(message) if value is None else value)


def test_a_batch_holds_observations_dead_letters_and_the_offsets_of_both(validator: Validator) -> None:
    builder = BatchBuilder(validator, 10)
    assert builder.is_empty
    assert builder.add(LEFT, 0, [record(0), record(1, b"{"), record(2)]) == 3
    assert builder.add(RIGHT, 7, [record(7)]) == 8
    batch = builder.take()
    assert [(one.log_partition, one.log_offset) for one in batch.observations] == [(1, 0), (1, 2), (2, 7)]
    assert [(one.log_partition, one.log_offset, one.payload) for one in batch.dead_letters] == [(1, 1, b"{")]
    assert batch.moves == (Move(LEFT, 0, 3), Move(RIGHT, 7, 8))
    assert builder.is_empty


def test_a_partition_that_comes_twice_moves_once_from_its_first_offset(validator: Validator) -> None:
    builder = BatchBuilder(validator, 10)
    builder.add(LEFT, 4, [record(4)])
    builder.add(LEFT, 5, [record(5), record(6)])
    assert builder.take().moves == (Move(LEFT, 4, 7),)


def test_offsets_that_are_no_records_are_passed_over(validator: Validator) -> None:
    builder = BatchBuilder(validator, 10)
    assert builder.add(LEFT, 0, [record(5), record(9)]) == 10
    assert builder.take().moves == (Move(LEFT, 0, 10),)


def test_room_counts_dead_letters_too(validator: Validator) -> None:
    builder = BatchBuilder(validator, 3)
    builder.add(LEFT, 0, [record(0), record(1, b"{")])
    assert builder.room == 1
    builder.add(LEFT, 2, [record(2), record(3)])
    assert builder.room == 0


def test_large_values_end_a_batch_early(validator: Validator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_MAX_BYTES", 1000)
    builder = BatchBuilder(validator, 100)
    builder.add(LEFT, 0, [record(0, b"x" * 999)])
    assert builder.room == 99
    builder.add(LEFT, 1, [record(1, b"x")])
    assert builder.room == 0
    builder.drop([LEFT.id])
    assert builder.room == 100


def test_a_partition_that_was_given_away_leaves_the_others_alone(validator: Validator) -> None:
    builder = BatchBuilder(validator, 10)
    builder.add(LEFT, 0, [record(0), record(1, b"{")])
    builder.add(RIGHT, 0, [record(0)])
    builder.drop([LEFT.id, 99])
    batch = builder.take()
    assert [one.log_partition for one in batch.observations] == [RIGHT.id]
    assert batch.dead_letters == ()
    assert batch.moves == (Move(RIGHT, 0, 1),)


def test_a_batch_is_as_old_as_its_first_record(validator: Validator) -> None:
    clock = Clock()
    builder = BatchBuilder(validator, 10, clock)
    assert builder.age == 0
    builder.add(LEFT, 0, [record(0)])
    clock.now += 2
    builder.add(LEFT, 1, [record(1)])
    assert builder.age == 2
    builder.take()
    assert builder.age == 0


def test_a_flood_of_dead_letters_is_a_few_lines_in_the_log(
    validator: Validator, caplog: pytest.LogCaptureFixture
) -> None:
    BatchBuilder(validator, 10_000).add(LEFT, 0, [record(number, b"{") for number in range(5000)])
    assert [line.getMessage().split(":")[0] for line in caplog.records] == [
        "observations[0]@0 is a dead letter",
        "observations[0]@1 is a dead letter",
        "observations[0]@2 is a dead letter",
        "and 4997 more dead letters, up to observations[0]@4999",
    ]
