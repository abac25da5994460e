"""A circuit breaker per API: one that fails is left alone for a while, then tried with a single question.

Closed, every question is asked. Failures in a row of the API itself, a wish to be left alone (Retry-After) or a
refused key open it: nothing is asked, and what is missing says why. After a while that grows from failure to failure
one probe is let through; an answer closes it. What is about one location (no station, no reading, no road near, an
odd payload) is an answer like any other. Our own dozen lines of states rather than a library: those know neither
Retry-After nor a refused key, and most hold a lock while the question is asked.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from lambda_pipeline.ingestion.source_errors import ErrorKind, SourceError

log = logging.getLogger(__name__)

_FAILURES = frozenset(
    {ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.RATE_LIMITED, ErrorKind.SERVER, ErrorKind.NOT_JSON}
)
_NO_QUESTION = frozenset({ErrorKind.BUSY, ErrorKind.OPEN, ErrorKind.QUOTA})


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When it opens and for how long. Times in seconds.

    `failures` in a row open it, for `first_open`, doubled at each failed probe up to `longest_open`; a Retry-After
    counts up to `longest_wish`. A refused key opens it for `key_retry`. A probe that has not come back after
    `probe_lost` is taken for lost.
    """

    failures: int = 5
    first_open: float = 5.0
    longest_open: float = 300.0
    longest_wish: float = 3600.0
    key_retry: float = 300.0
    probe_lost: float = 60.0


# For fast-forward, where outages are simulated and last no time at all.
NEVER_LEFT_ALONE = BreakerPolicy(failures=1_000_000_000)


class Breaker:
    """The breaker of one API. Safe to share between threads.

    `setting` is the name of the API's key, for the log; `clock` is monotonic seconds.
    """

    def __init__(self, source: str, setting: str, clock: Callable[[], float], policy: BreakerPolicy) -> None:
        self._source, self._setting, self._clock, self._policy = source, setting, clock, policy
        self._lock = threading.Lock()
        self._round = 0  # changes with each opening, probe and closing: late answers of an earlier one do not count
        self._failures = 0
        self._kind: ErrorKind | None = None  # why it is open; None while it is closed
        self._ask_again = 0.0
        self._open_for = 0.0

    def admit(self) -> int:
        """Leave to ask one question: a ticket to be handed back to `record`. Raises SourceError (`open` or `key`)."""
        with self._lock:
            if self._kind is None:
                return self._round
            if self._clock() >= self._ask_again:
                self._round += 1
                self._ask_again = self._clock() + self._policy.probe_lost
                return self._round
            kind = ErrorKind.KEY if self._kind is ErrorKind.KEY else ErrorKind.OPEN
        raise SourceError(self._source, kind, "not asked, because it failed before")

    def record(self, ticket: int, error: SourceError | None) -> None:
        """How a question that was admitted went; None is an answer."""
        with self._lock:
            if ticket != self._round:
                return
            kind = None if error is None else error.kind
            if kind is ErrorKind.KEY:
                self._open(kind, self._policy.key_retry, error)
            elif kind in _FAILURES:
                self._failures += 1
                wish = min(error.retry_after or 0.0, self._policy.longest_wish) if error is not None else 0.0
                if self._kind is not None or wish > 0 or self._failures >= self._policy.failures:
                    grown = min(self._open_for * 2 or self._policy.first_open, self._policy.longest_open)
                    self._open(ErrorKind.OPEN, max(grown, wish), error, grown)
            elif kind in _NO_QUESTION:
                if self._kind is not None:  # the probe was not made; the next question is it
                    self._ask_again = self._clock()
            else:
                self._close()

    def _open(self, kind: ErrorKind, seconds: float, error: SourceError | None, grown: float = 0.0) -> None:
        is_news = self._kind is not kind
        self._round += 1
        self._kind, self._ask_again, self._open_for = kind, self._clock() + seconds, grown
        if not is_news:
            return
        detail = error.detail or error.kind.value if error is not None else ""
        if kind is ErrorKind.KEY:
            log.error(
                "%s refuses the key (%s): check %s. Its measures stay empty meanwhile; it is asked again every %.0f s.",
                self._source, detail, self._setting, seconds,
            )  # fmt: skip
        else:
            log.warning(
                "%s fails (%s): it is left alone for %.0f s, then tried with one question at a time. "
                "Its measures stay empty meanwhile.",
                self._source, detail, seconds,
            )  # fmt: skip

    def _close(self) -> None:
        was, self._kind, self._failures, self._open_for = self._kind, None, 0, 0.0
        if was is None:
            return
        self._round += 1
        if was is ErrorKind.KEY:
            log.info("%s accepts the key of %s again.", self._source, self._setting)
        else:
            log.info("%s answers again.", self._source)
