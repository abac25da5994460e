"""One API's lane: its own threads, breaker and pace, so that a slow or failing API holds up nobody but itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from lambda_pipeline.ingestion.breaker import Breaker
from lambda_pipeline.ingestion.source_errors import ErrorKind, SourceError
from lambda_pipeline.ingestion.workers import WorkerPool

_T = TypeVar("_T")


class Pace(Protocol):
    """At which of its turns a location asks a source."""

    def takes(self, turn: int) -> bool:
        """Whether it asks at this one."""


class EveryTurn:
    """The pace of a source without a quota."""

    def takes(self, _turn: int) -> bool:
        """Always."""
        return True


@dataclass(frozen=True, slots=True)
class Lane:
    """What questions to one API go through. A question that has waited `queue_timeout` seconds is not asked.

    In an API that answers too slowly for its threads, those questions would only be late as well; so the queue is
    never longer than what comes in such a time.
    """

    source: str
    breaker: Breaker
    pace: Pace
    pool: WorkerPool
    clock: Callable[[], float]
    queue_timeout: float

    def ask(self, question: Callable[[], _T], done: Callable[[_T | Exception], None], turn: int) -> None:
        """Ask in one of the threads; `done` is called once with the answer or what went wrong, there or here.

        What goes wrong is a SourceError, or any other exception where it is a bug.
        """
        if not self.pace.takes(turn):
            done(SourceError(self.source, ErrorKind.QUOTA, "not asked, to make the day's requests last"))
            return
        queued = self.clock()

        def task() -> None:
            try:
                outcome: _T | Exception = self._admitted(question, self.clock() - queued)
            except Exception as error:
                outcome = error
            done(outcome)

        self.pool.submit(task)

    def _admitted(self, question: Callable[[], _T], waited: float) -> _T:
        if waited > self.queue_timeout:
            raise SourceError(self.source, ErrorKind.BUSY, f"no thread was free for {waited:.0f} s")
        ticket = self.breaker.admit()
        try:
            answer = question()
        except SourceError as error:
            self.breaker.record(ticket, error)
            raise
        except Exception:
            self.breaker.record(ticket, None)  # a bug of ours says nothing about the API
            raise
        self.breaker.record(ticket, None)
        return answer
