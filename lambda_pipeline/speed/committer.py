"""The threads that commit, in the order of the batches, while the next batches are fetched and judged.

There are two, so that the rows of a batch are on their way to PostgreSQL while it merges those of the one before; what
takes locks or changes a table waits for its turn.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import psycopg
import sqlalchemy as sa

from lambda_pipeline.errors import StaleCatalogueError, StaleOffsetsError, TransientError
from lambda_pipeline.speed.commit import MicroBatch, commit_micro_batch
from lambda_pipeline.storage.engine import is_conflict

logger = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds between attempts while PostgreSQL is away
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """A batch that is done with.

    `committed` is what of it was committed, `gained` how many observations the speed layer holds more, `refused` the
    log partitions of which nothing was committed: they are another consumer's, or all of them where the records were
    judged by an old catalogue (`is_outdated`), `seconds` how long the last attempt took, `attempts` how many there
    were, `at` when it was done (seconds since 1970).
    """

    committed: MicroBatch
    gained: int
    refused: frozenset[int]
    seconds: float
    attempts: int
    is_outdated: bool = False
    at: float = field(default_factory=time.time)


@dataclass(slots=True)
class _Job:
    """A batch under way. `outcome` stays None where it was given up, when the committer closed."""

    batch: MicroBatch
    before: "_Job | None"
    is_settled: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None


class _ClosedError(Exception):
    """Ends an attempt whose turn does not come any more."""


class Committer:
    """Commits in threads of its own, again and again while PostgreSQL is away or another transaction wins.

    The threads are daemons: a program that ends in the middle of a commit leaves a transaction that PostgreSQL rolls
    back, offsets and all.
    """

    def __init__(
        self,
        engine: sa.Engine,
        timezone: str,
        commit: Callable[..., int] = commit_micro_batch,
        on_setback: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        """`on_setback` is told, in any thread, what an attempt failed with that is made again."""
        self._on_setback = on_setback
        self._engine = engine
        self._timezone = timezone
        self._commit_batch = commit
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._waiting: deque[_Job] = deque()
        self._under_way: deque[_Job] = deque()  # submitted, and the outcome not fetched
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"committer-{number}", daemon=True) for number in range(_AT_ONCE)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, batch: MicroBatch) -> None:
        """Commit this after those before. Raises RuntimeError where too many are under way."""
        with self._changed:
            if len(self._under_way) >= _AT_ONCE:
                raise RuntimeError(f"{_AT_ONCE} batches at a time, with the outcomes not fetched")
            job = _Job(batch, self._under_way[-1] if self._under_way else None)
            self._under_way.append(job)
            self._waiting.append(job)
            self._changed.notify_all()

    @property
    def is_busy(self) -> bool:
        """Whether a batch is being committed."""
        with self._changed:
            return any(not job.is_settled.is_set() for job in self._under_way)

    @property
    def has_room(self) -> bool:
        """Whether one more may be submitted, once the outcomes of those that are done are fetched."""
        with self._changed:
            return sum(not job.is_settled.is_set() for job in self._under_way) < _AT_ONCE

    def outcome(self) -> Outcome | None:
        """What became of the oldest batch, once it is done with. Raises what a thread ended with, if one did."""
        with self._changed:
            if self._error is not None:
                raise self._error
            if not self._under_way or not self._under_way[0].is_settled.is_set():
                return None
            return self._under_way.popleft().outcome

    def wait(self, timeout: float, *, until_idle: bool = False) -> None:
        """Wait up to `timeout` seconds until there is room, or until nothing is under way."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_busy if until_idle else self.has_room, timeout)

    def close(self, timeout: float) -> None:
        """Finish the attempts under way within `timeout` seconds; make no others."""
        end = time.monotonic() + timeout
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.0))

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
                if not self._waiting:
                    return
                job = self._waiting.popleft()
            error = None
            try:
                job.outcome = self._commit(job)
            except BaseException as caught:  # handed to the thread that asks for the outcome
                error = caught
            with self._changed:
                self._error = self._error or error
                job.before = None
                job.is_settled.set()
                self._changed.notify_all()

    def _commit(self, job: _Job) -> Outcome | None:
        """Commit until it is done; None if closed before that, or if the batch before was not committed."""
        batch, pause, attempts = job.batch, _FIRST_PAUSE, 0
        refused: frozenset[int] = frozenset()
        while not self._closing.is_set():
            started, attempts = time.monotonic(), attempts + 1
            try:
                turn = partial(self._await_turn, job, batch)
                gained = self._commit_batch(self._engine, batch, self._timezone, turn) if batch.moves else 0
            except _ClosedError:
                return None
            except StaleOffsetsError as error:
                logger.warning("%s Its records of this batch are dropped, the others are committed.", error.message)
                refused |= error.partitions
                batch = batch.without(error.partitions)
                continue
            except StaleCatalogueError as error:
                logger.warning("%s The records of this batch are judged again.", error.message)
                refused |= frozenset(move.partition.id for move in batch.moves)
                return Outcome(
                    batch.without(refused), 0, refused, time.monotonic() - started, attempts, is_outdated=True
                )
            except TransientError as error:
                logger.warning("waiting %.1f s: %s", pause, error)
                self._on_setback(error)
            except (sa.exc.DBAPIError, psycopg.Error) as error:
                if not is_conflict(error):
                    raise
                logger.info("lost against another transaction, trying again: %s", error)
                self._on_setback(error)
            else:
                return Outcome(batch, gained, refused, time.monotonic() - started, attempts)
            self._closing.wait(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)
        return None

    @staticmethod
    def _await_turn(job: _Job, batch: MicroBatch) -> None:
        """Wait for the batch before. What was refused of that one is so of this one, which goes on from there."""
        before = job.before
        if before is None:
            return
        before.is_settled.wait()
        if before.outcome is None:
            raise _ClosedError
        lost = before.outcome.refused & {move.partition.id for move in batch.moves}
        if lost:
            where = ", ".join(move.partition.at(move.expected) for move in batch.moves if move.partition.id in lost)
            raise StaleOffsetsError(f"{where} follows records that were not committed.", partitions=lost)
