"""What the ingest daemon counts."""

import threading
from collections import Counter

POLL = "poll"  # whole polls: "publishable" or "failed"
MISSED = "missed"  # polls that were not made, by reason
PUBLISHABLE, FAILED, OK, BUG = "publishable", "failed", "ok", "unexpected"
LATE, OVERLAP, SPOOL_FULL = "late", "overlap", "spool full"


class PollCounters:
    """Counts per (source, kind). Safe to share between threads.

    For an API its error kinds, "ok", and "unexpected" for a bug; for "poll" "publishable", "failed" (asked, and
    neither API gave anything) and "unexpected"; for "missed" why a poll was not made: "late" (its slot had passed),
    "overlap" (the location's poll before was still under way), "spool full", "quota".
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def add(self, source: str, kind: str, number: int = 1) -> None:
        """Count one, or as many as said."""
        with self._lock:
            self._counts[source, str(kind)] += number

    def snapshot(self) -> dict[tuple[str, str], int]:
        """A copy of all counts."""
        with self._lock:
            return dict(self._counts)
