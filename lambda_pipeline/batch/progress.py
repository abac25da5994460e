"""How far a run is: told to whoever waits for it, in words where that is a log."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

_EVERY = 10.0  # seconds between lines of a log


class Progress(Protocol):
    """Is told how many of how many units (hours, records) a step of a run has done."""

    def report(self, step: str, done: int, total: int) -> None:
        """`step` is the asset's name."""


class LoggedProgress:
    """A line every ten seconds: where a run has no other screen than its log."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._said_at = clock()

    def report(self, step: str, done: int, total: int) -> None:
        """Log it, unless something was logged just now."""
        if self._clock() - self._said_at >= _EVERY:
            self._said_at = self._clock()
            self._logger.info("%s: %d of %d", step, done, total)
