"""The committing thread: one batch at a time, through outages, conflicts and lost partitions."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa

from lambda_pipeline.errors import DatabaseUnavailableError, SchemaError, StaleOffsetsError
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline.speed import committer as module
from lambda_pipeline.speed.commit import MicroBatch, Move
from lambda_pipeline.speed.committer import Committer, Outcome
from lambda_pipeline.storage.log_partitions import LogPartition

LEFT, RIGHT = (LogPartition(number, UUID(int=1), "observations", number - 1) for number in (1, 2))
BATCH = MicroBatch((), (), (Move(LEFT, 0, 5), Move(RIGHT, 3, 4)))
DEADLINE = 20.0
NOBODY = sa.create_engine("postgresql+psycopg://nowhere")


class Script:
    """Stands for the transaction: each call does what the next entry says, the last one for ever."""

    def __init__(self, *steps: Exception | int | Callable[[], int]) -> None:
        self.steps = list(steps)
        self.begun: list[MicroBatch] = []  # the rows are copied
        self.batches: list[MicroBatch] = []  # its turn has come

    def __call__(self, _engine: object, batch: MicroBatch, timezone: str, await_turn: Callable[[], None]) -> int:
        assert timezone == "Asia/Jakarta"
        self.begun.append(batch)
        await_turn()
        self.batches.append(batch)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, int) else step()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Script], Committer]]:
    """Committers with short pauses, closed at the end."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    started: list[Committer] = []

    def make(script: Script) -> Committer:
        started.append(Committer(NOBODY, "Asia/Jakarta", script))
        return started[-1]

    yield make
    for committer in started:
        committer.close(DEADLINE)


def finished(committer: Committer) -> Outcome | None:
    """The outcome once the thread is done with the batch."""
    committer.wait(DEADLINE, until_idle=True)
    assert not committer.is_busy
    return committer.outcome()


def test_a_batch_is_committed_and_its_outcome_given_once(start: Callable[[Script], Committer]) -> None:
    committer = start(Script(7))
    committer.submit(BATCH)
    outcome = finished(committer)
    assert outcome is not None
    assert (outcome.committed, outcome.gained, outcome.refused, outcome.attempts) == (BATCH, 7, frozenset(), 1)
    assert committer.outcome() is None


NEXT = MicroBatch((), (), (Move(LEFT, 5, 9), Move(RIGHT, 4, 8)))


def test_of_two_batches_the_second_is_copied_meanwhile_and_waits_for_its_turn(
    start: Callable[[Script], Committer],
) -> None:
    go = threading.Event()
    script = Script(lambda: int(go.wait(DEADLINE)))
    committer = start(script)
    committer.submit(BATCH)
    assert committer.has_room
    committer.submit(NEXT)
    assert not committer.has_room
    assert committer.outcome() is None
    with pytest.raises(RuntimeError, match="2 batches at a time"):
        committer.submit(NEXT)
    assert wait_until(lambda: len(script.begun) == 2, DEADLINE)
    assert script.batches == [BATCH]
    go.set()
    first, second = finished(committer), committer.outcome()
    assert first is not None
    assert second is not None
    assert (first.committed, second.committed) == (BATCH, NEXT)
    assert script.batches == [BATCH, NEXT]
    committer.submit(BATCH)


def test_what_was_lost_in_one_batch_is_lost_in_the_next(start: Callable[[Script], Committer]) -> None:
    go = threading.Event()

    def lost() -> int:
        go.wait(DEADLINE)
        raise StaleOffsetsError("observations[0]@0 was already consumed.", partitions=frozenset({LEFT.id}))

    script = Script(lost, 1)
    committer = start(script)
    committer.submit(BATCH)
    committer.submit(NEXT)
    go.set()
    first, second = finished(committer), committer.outcome()
    assert first is not None
    assert second is not None
    assert first.refused == second.refused == {LEFT.id}
    assert (first.committed.moves, second.committed.moves) == ((Move(RIGHT, 3, 4),), (Move(RIGHT, 4, 8),))


def test_a_batch_behind_one_that_failed_is_given_up(start: Callable[[Script], Committer]) -> None:
    go = threading.Event()

    def fails() -> int:
        go.wait(DEADLINE)
        raise SchemaError("the database's schema is not this version's.")

    script = Script(fails, 1)
    committer = start(script)
    committer.submit(BATCH)
    committer.submit(NEXT)
    go.set()
    committer.wait(DEADLINE, until_idle=True)
    assert script.batches == [BATCH]
    with pytest.raises(SchemaError):
        committer.outcome()


def test_it_tries_again_while_postgresql_is_away(start: Callable[[Script], Committer]) -> None:
    away = DatabaseUnavailableError("PostgreSQL is not answering.")
    script = Script(away, away, away, 2)
    committer = start(script)
    committer.submit(BATCH)
    outcome = finished(committer)
    assert outcome is not None
    assert (outcome.gained, outcome.attempts) == (2, 4)
    assert script.batches == [BATCH] * 4


def test_it_tries_again_after_a_deadlock(start: Callable[[Script], Committer]) -> None:
    committer = start(Script(psycopg.errors.DeadlockDetected(), 1))
    committer.submit(BATCH)
    outcome = finished(committer)
    assert outcome is not None
    assert outcome.attempts == 2


def test_having_lost_one_partition_it_commits_the_others(
    start: Callable[[Script], Committer], caplog: pytest.LogCaptureFixture
) -> None:
    script = Script(StaleOffsetsError("observations[0]@0 was already consumed.", partitions=frozenset({LEFT.id})), 1)
    committer = start(script)
    with caplog.at_level(logging.WARNING):
        committer.submit(BATCH)
        outcome = finished(committer)
    assert outcome is not None
    assert outcome.refused == {LEFT.id}
    assert outcome.committed.moves == (Move(RIGHT, 3, 4),)
    assert script.batches == [BATCH, outcome.committed]
    assert "observations[0]@0 was already consumed" in caplog.text


def test_having_lost_all_partitions_it_commits_nothing(start: Callable[[Script], Committer]) -> None:
    script = Script(StaleOffsetsError("both", partitions=frozenset({LEFT.id, RIGHT.id})), 1)
    committer = start(script)
    committer.submit(BATCH)
    outcome = finished(committer)
    assert outcome is not None
    assert (outcome.refused, outcome.gained, outcome.committed.moves) == ({LEFT.id, RIGHT.id}, 0, ())
    assert script.batches == [BATCH]


def test_what_cannot_pass_ends_the_daemon(start: Callable[[Script], Committer]) -> None:
    committer = start(Script(SchemaError("the database's schema is not this version's.")))
    committer.submit(BATCH)
    committer.wait(DEADLINE, until_idle=True)
    for _ in range(2):
        with pytest.raises(SchemaError):
            committer.outcome()


def test_closing_ends_the_waiting_for_postgresql(start: Callable[[Script], Committer]) -> None:
    tried = threading.Event()

    def attempt() -> int:
        tried.set()
        raise DatabaseUnavailableError("PostgreSQL is not answering.")

    committer = start(Script(attempt))
    committer.submit(BATCH)
    assert tried.wait(DEADLINE)
    committer.close(DEADLINE)
    assert not committer.is_busy
    assert committer.outcome() is None


def test_closing_waits_for_the_commit_under_way_but_not_longer_than_told(start: Callable[[Script], Committer]) -> None:
    go, entered = threading.Event(), threading.Event()

    def attempt() -> int:
        entered.set()
        return int(go.wait(DEADLINE))

    committer = start(Script(attempt))
    committer.submit(BATCH)
    assert entered.wait(DEADLINE)
    committer.close(0.01)
    assert committer.is_busy
    go.set()
    committer.close(DEADLINE)
    outcome = committer.outcome()
    assert outcome is not None
    assert outcome.gained == 1


def test_each_attempt_that_is_made_again_is_told_with_what_it_failed_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    failures = [DatabaseUnavailableError("away"), psycopg.errors.DeadlockDetected(), DatabaseUnavailableError("again")]
    told: list[Exception] = []
    committer = Committer(NOBODY, "Asia/Jakarta", Script(*failures, 1), told.append)
    before = time.time()
    committer.submit(BATCH)
    outcome = finished(committer)
    committer.close(DEADLINE)
    assert told == failures
    assert outcome is not None
    assert before <= outcome.at <= time.time()
