"""The thread that commits: one micro-batch at a time, while the next one is fetched and judged."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import sqlalchemy as sa

from lambda_pipeline.errors import StaleOffsetsError, TransientError
from lambda_pipeline.speed.commit import MicroBatch, commit_micro_batch
from lambda_pipeline.storage.engine import is_conflict

logger = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds between attempts while PostgreSQL is away


@dataclass(frozen=True, slots=True)
class Outcome:
    """A batch that is done with.

    `committed` is what of it was committed, `gained` how many observations the speed layer holds more, `refused` the
    log partitions that turned out to be another consumer's, `seconds` how long the last attempt took and `attempts`
    how many there were.
    """

    committed: MicroBatch
    gained: int
    refused: frozenset[int]
    seconds: float
    attempts: int


class Committer:
    """Commits in a thread of its own, again and again while PostgreSQL is away or another transaction wins.

    The thread is a daemon: a program that ends in the middle of a commit leaves a transaction that PostgreSQL rolls
    back, offsets and all.
    """

    def __init__(self, engine: sa.Engine, timezone: str, commit: Callable[..., int] = commit_micro_batch) -> None:
        self._engine = engine
        self._timezone = timezone
        self._commit_batch = commit
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._batch: MicroBatch | None = None
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="committer", daemon=True)
        self._thread.start()

    def submit(self, batch: MicroBatch) -> None:
        """Commit this next. Raises RuntimeError while another one is under way or its outcome was not fetched."""
        with self._changed:
            if self._batch is not None or self._outcome is not None:
                raise RuntimeError("one batch at a time")
            self._batch = batch
            self._changed.notify_all()

    @property
    def is_busy(self) -> bool:
        """Whether a batch is being committed."""
        with self._changed:
            return self._batch is not None

    def outcome(self) -> Outcome | None:
        """What became of the last batch, once. Raises what the thread ended with, if it did."""
        with self._changed:
            if self._error is not None:
                raise self._error
            outcome, self._outcome = self._outcome, None
            return outcome

    def wait(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the batch under way."""
        with self._changed:
            self._changed.wait_for(lambda: self._batch is None, timeout)

    def close(self, timeout: float) -> None:
        """Finish the attempt under way within `timeout` seconds; make no other."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._batch is not None or self._closing.is_set())
                batch = self._batch
            if batch is None:
                return
            outcome, error = None, None
            try:
                outcome = self._commit(batch)
            except BaseException as caught:  # handed to the thread that asks for the outcome
                error = caught
            with self._changed:
                self._batch, self._outcome, self._error = None, outcome, error
                self._changed.notify_all()
            if outcome is None:
                return

    def _commit(self, batch: MicroBatch) -> Outcome | None:
        """Commit until it is done; None if closed before that."""
        pause, attempts = _FIRST_PAUSE, 0
        refused: frozenset[int] = frozenset()
        while not self._closing.is_set():
            started, attempts = time.monotonic(), attempts + 1
            try:
                gained = self._commit_batch(self._engine, batch, self._timezone) if batch.moves else 0
            except StaleOffsetsError as error:
                logger.warning("%s Its records of this batch are dropped, the others are committed.", error.message)
                refused |= error.partitions
                batch = batch.without(error.partitions)
                continue
            except TransientError as error:
                logger.warning("waiting %.1f s: %s", pause, error)
            except (sa.exc.DBAPIError, psycopg.Error) as error:
                if not is_conflict(error):
                    raise
                logger.info("lost against another transaction, trying again: %s", error)
            else:
                return Outcome(batch, gained, refused, time.monotonic() - started, attempts)
            self._closing.wait(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)
        return None
