"""The outbox: where observations wait, in memory until they are on the disk, and there until Kafka has them.

Two threads work on it, and no other: one stores (`store`), one sends (`take`, `settle`). The head of the queue in
memory belongs to one of them at a time. The sending thread may claim it only where the disk has just taken nothing, so
that observations reach Kafka all the same.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from lambda_pipeline.errors import SpoolUnavailableError
from lambda_pipeline.ingestion.spool import Record, Spool

log = logging.getLogger(__name__)

_WINDOW = 1_000
_STORED_AT_ONCE = 5_000
_FREE_AGAIN = 0.9  # of the bound


class Outbox:
    """Keys and values that wait. `put` and the counts are for any thread.

    `retry_after` is the pause, in seconds, between attempts at a disk that does not take them; up to about
    `max_in_memory` of them then wait in memory. Raises SpoolInUseError if another ingest has the spool.
    """

    def __init__(self, spool: Spool, *, max_in_memory: int, retry_after: float) -> None:
        self.spool = spool
        self._max_in_memory = max_in_memory
        self._retry_after = retry_after
        self._changed = threading.Condition()
        self._memory: deque[tuple[bytes, bytes]] = deque()
        self._claimed = 0  # of the head of `_memory`
        self._disk_error: SpoolUnavailableError | None = None
        self._may_bypass = False  # the disk: it has just failed, and the storing thread pauses
        self._is_full = self._no_more_sending = self._no_more_storing = False
        # The sending thread's own:
        self._window: list[Record] = []  # read from the spool and not settled
        self._last_read = 0
        self._is_direct = False
        self._done: list[Record] = []  # to be removed from the spool
        self._refused: list[tuple[Record, str]] = []  # to be set aside in the spool
        try:
            spool.open()
        except SpoolUnavailableError as error:
            self._note(error)

    # ---------------------------------------------------------------- any thread

    def put(self, key: bytes, value: bytes) -> None:
        """Take in one more, also beyond the bound: to hold back is for whoever asks `is_full`."""
        with self._changed:
            self._memory.append((key, value))
            self._changed.notify_all()

    @property
    def is_full(self) -> bool:
        """Whether no more should be put: the disk's bound is reached, or memory's where the disk takes nothing.

        Once full, it stays so until a tenth of the room is free again.
        """
        with self._changed:
            on_disk = 0.0 if self._disk_error else self.spool.bytes / self.spool.max_bytes
            share = max(on_disk, len(self._memory) / self._max_in_memory)
            self._is_full = share >= (_FREE_AGAIN if self._is_full else 1.0)
            return self._is_full

    @property
    def in_memory(self) -> int:
        """How many are not on the disk yet."""
        return len(self._memory)

    @property
    def spooled(self) -> int:
        """How many are on the disk and not settled."""
        return max(self.spool.depth - len(self._done) - len(self._refused), 0)

    @property
    def disk_fails(self) -> bool:
        """Whether the disk took nothing when it was last tried."""
        return self._disk_error is not None

    @property
    def is_over(self) -> bool:
        """Whether sending is to stop."""
        return self._no_more_sending

    def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until something that the outbox tells of holds, at most `timeout` seconds; whether it does."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def stop_sending(self) -> None:
        """`take` gives nothing any more, and what waits in `pause` goes on."""
        with self._changed:
            self._no_more_sending = True
            self._changed.notify_all()

    def stop_storing(self) -> None:
        """`store` makes one more attempt and then returns False."""
        with self._changed:
            self._no_more_storing = True
            self._changed.notify_all()

    # ---------------------------------------------------------------- the storing thread

    def store(self) -> bool:
        """Wait for something in memory and move it to the disk, in one transaction. False when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_claimable() or self._no_more_storing)
            is_last = self._no_more_storing
            pairs = self._claim(_STORED_AT_ONCE)
        if not pairs:
            return not is_last
        stored, failure = 0, None
        try:
            self.spool.append(pairs)
            stored = len(pairs)
        except SpoolUnavailableError as error:
            failure = error
        finally:
            self._release(stored)
        self._note(failure)
        if failure is None:
            return True
        if not is_last:
            self._pause_storing()
        return not is_last

    def _pause_storing(self) -> None:
        """Leave the queue to the sending thread for a while; then the disk comes first again."""
        with self._changed:
            self._may_bypass = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._no_more_storing, self._retry_after)
            self._may_bypass = False

    # ---------------------------------------------------------------- the sending thread

    def take(self, limit: int) -> list[Record]:
        """The next records to send, oldest first: those on the disk, else those that the disk does not take.

        Waits for some; none when sending is to stop, or when they could not be read. To be given back to `settle`.
        """
        self._forget()
        self.wait_for(lambda: self._no_more_sending or self._has_work(), threading.TIMEOUT_MAX)
        if self._no_more_sending:
            return []
        if not self._window and self.spooled:
            self._read()
        self._is_direct = not self._window
        if self._window:
            return self._window[:limit]
        with self._changed:
            if self._may_bypass and self._is_claimable():
                pairs = self._claim(min(limit, _WINDOW))
                return [Record(place - len(pairs), *pair) for place, pair in enumerate(pairs)]
        if self.spooled:  # and cannot be read
            self.pause(self._retry_after)
        return []

    def settle(
        self, count: int, done: Sequence[Record], refused: Sequence[tuple[Record, str]], rest: list[Record]
    ) -> None:
        """Of `count` records taken, some are done, some refused, and the rest is to be taken again."""
        if self._is_direct:
            self._release(count, rest)
            return
        self._window[:count] = rest
        self._done += done
        self._refused += refused
        self._forget()

    def pause(self, seconds: float) -> None:
        """Wait, unless sending is to stop."""
        self.wait_for(lambda: self._no_more_sending, seconds)

    def _has_work(self) -> bool:
        return bool(self._window) or self.spooled > 0 or (self._may_bypass and self._is_claimable())

    def _read(self) -> None:
        try:
            self._window = self.spool.oldest(_WINDOW, after=self._last_read)
        except SpoolUnavailableError as error:
            self._note(error)
        if self._window:
            self._last_read = self._window[-1].id

    def _forget(self) -> None:
        """Take what is settled out of the spool. Where the disk is full that waits; meanwhile it is not sent again."""
        # First out of the lists, then out of the spool: a reader of `spooled` may find too many, never too few.
        done, self._done = self._done, []
        refused, self._refused = self._refused, []
        try:
            while refused:
                self.spool.set_aside(*refused[0])
                del refused[0]
            if done:
                self.spool.remove(done)
                done = []
        except SpoolUnavailableError as error:
            self._note(error)
        finally:
            with self._changed:
                self._done, self._refused = done, refused
                self._changed.notify_all()

    # ---------------------------------------------------------------- both

    def _is_claimable(self) -> bool:
        return bool(self._memory) and not self._claimed

    def _claim(self, limit: int) -> list[tuple[bytes, bytes]]:
        if self._claimed:
            return []
        pairs = list(islice(self._memory, limit))
        self._claimed = len(pairs)
        return pairs

    def _release(self, count: int, rest: Sequence[Record] = ()) -> None:
        """`count` of what was claimed are out of memory, except for the rest."""
        with self._changed:
            for _ in range(count):
                self._memory.popleft()
            self._memory.extendleft((record.key, record.value) for record in reversed(rest))
            self._claimed = 0
            self._changed.notify_all()

    def _note(self, error: SpoolUnavailableError | None) -> None:
        """Remember whether the disk does its work; say so when that changes."""
        with self._changed:
            before, self._disk_error = self._disk_error, error
            self._changed.notify_all()
        if error is not None and before is None:
            log.error("%s Until then observations wait in memory, and are lost should this process end.", error)
        elif error is None and before is not None:
            log.warning("the spool %s can be written again", self.spool.path)
