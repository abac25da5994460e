"""What `ingest` and `speed` say of themselves with every sign of life, for `status` and whoever reads `daemons`."""

import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from lambda_pipeline.ingestion.counters import PollCounters
    from lambda_pipeline.ingestion.publisher import Publisher
    from lambda_pipeline.ingestion.quota import QuotaLedger
    from lambda_pipeline.ingestion.spool import Spool
    from lambda_pipeline.speed.commit import MicroBatch

_HOUR, _STEP = 3600.0, 60.0  # seconds


class LastHour:
    """What was counted within the last hour, or since the start where that is shorter. For one thread."""

    def __init__(self, counts: Callable[[], Mapping[Any, int]], clock: Callable[[], float] = time.monotonic) -> None:
        """`counts` gives totals, `clock` seconds."""
        self._counts = counts
        self._clock = clock
        self._before: deque[tuple[float, Counter[Any]]] = deque([(clock(), Counter(counts()))])

    def counted(self) -> tuple[Counter[Any], float]:
        """The counts, and over how many seconds."""
        now, totals = self._clock(), Counter(self._counts())
        while len(self._before) > 1 and self._before[1][0] <= now - _HOUR:
            self._before.popleft()
        since, before = self._before[0]
        if now - self._before[-1][0] >= _STEP:
            self._before.append((now, totals))
        return totals - before, now - since


class IngestSigns:
    """Quotas used today, how polls went in the last hour, what waits, and the room on its disk."""

    def __init__(
        self, counters: "PollCounters", ledger: "QuotaLedger", publisher: "Publisher", spool: "Spool", home: "Path"
    ) -> None:
        self._ledger, self._publisher, self._spool, self._home = ledger, publisher, spool, home
        self._polls = LastHour(counters.snapshot)

    def describe(self) -> dict[str, Any]:
        """As it is kept in `daemons.detail`; `last_hour` counts by source and kind (see PollCounters)."""
        counted, seconds = self._polls.counted()
        by_source: dict[str, dict[str, int]] = {}
        for (source, kind), number in sorted(counted.items()):
            by_source.setdefault(source, {})[str(kind)] = number
        counts = self._publisher.counts()
        return {
            "quotas": {source: found._asdict() for source, found in self._ledger.used().items()},
            "last_hour": by_source,
            "last_hour_seconds": round(seconds),
            "delivered": counts.delivered,
            "refused": counts.refused,
            "spool": {"records": counts.pending, "bytes": self._spool.bytes, "max_bytes": self._spool.max_bytes},
            "disk": disk(self._home),
        }


class SpeedSigns:
    """What one speed daemon has committed since its start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("commits", "observations", "gained", "dead_letters"), 0)

    def on_commit(self, batch: "MicroBatch", gained: int) -> None:
        """Count a commit."""
        news = (1, len(batch.observations), gained, len(batch.dead_letters))
        with self._lock:
            for name, number in zip(self._counts, news, strict=True):
                self._counts[name] += number

    def describe(self) -> dict[str, Any]:
        """As it is kept in `daemons.detail`."""
        with self._lock:
            return dict(self._counts)


def disk(folder: "Path") -> dict[str, Any] | None:
    """Bytes free and in all of the disk that a folder is on; None where there is no such folder."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return {"folder": str(folder.resolve()), "free_bytes": usage.free, "total_bytes": usage.total}
