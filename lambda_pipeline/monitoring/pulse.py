"""Whether a daemon goes on, which is what a restart would help with if it did not.

That a server is away does not make a daemon unhealthy: it waits in an orderly way, and one started in its stead would
wait as well. What a restart may help is a part of it that has not turned for so long that something must be stuck.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

STUCK_AFTER = 120.0
"""Seconds after which a part that has not turned is stuck: twice what the longest transaction may take."""
MAIN = "loop"


@dataclass(frozen=True, slots=True)
class Health:
    """How it goes: `reason` says what is waited for, or what is stuck."""

    status: Literal["starting", "ok", "waiting", "stuck"]
    reason: str = ""

    @property
    def is_healthy(self) -> bool:
        """Whether a restart would not help."""
        return self.status in ("ok", "waiting")


class Pulse:
    """The parts of a daemon tell it that they go on. Safe to share between threads; costs next to nothing."""

    def __init__(self, stuck_after: float = STUCK_AFTER, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._stuck_after, self._clock = stuck_after, clock
        self._lock = threading.Lock()
        self._parts: dict[str, tuple[float, str]] = {}  # when it last turned, and what it waits for

    def beat(self, part: str = MAIN) -> None:
        """A part has turned, and waits for nothing."""
        self._note(part, "")

    def waits(self, reason: str, part: str = MAIN) -> None:
        """A part has turned, but waits for a server: it tries again before it can be taken for stuck."""
        self._note(part, reason)

    def turns(self, part: str = MAIN) -> None:
        """A part has turned; whether it waits is as before."""
        with self._lock:
            self._parts[part] = self._clock(), self._parts.get(part, (0.0, ""))[1]

    def rest(self, part: str) -> None:
        """A part has nothing to do: it is not looked at until it turns again."""
        with self._lock:
            self._parts.pop(part, None)

    def health(self) -> Health:
        """How it goes. "starting" until the first part has turned."""
        with self._lock:
            now, parts = self._clock(), dict(self._parts)
        if not parts:
            return Health("starting", "it has not begun its work yet")
        stuck = {name: now - turned for name, (turned, _) in parts.items() if now - turned > self._stuck_after}
        if stuck:
            slow = ", ".join(f"{name} has not gone on for {seconds:.0f} s" for name, seconds in sorted(stuck.items()))
            return Health("stuck", slow)
        waiting = "; ".join(dict.fromkeys(reason for _, reason in parts.values() if reason))
        return Health("waiting", waiting) if waiting else Health("ok")

    def _note(self, part: str, reason: str) -> None:
        with self._lock:
            self._parts[part] = self._clock(), reason
