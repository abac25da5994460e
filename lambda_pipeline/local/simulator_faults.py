"""The simulator's switchable faults: what can go wrong on request, and which request it hits."""

import hashlib
import threading
from typing import Any

import msgspec

SOURCES = ("tomtom", "aqicn")
# What every fault does; the first six to the answer as a whole, the others to what it says.
FAULTS = {
    "hang": "waits `seconds` before it answers",
    "status": "answers HTTP `status`, with Retry-After if `retry_after` is given",
    "half_json": "breaks off in the middle of the JSON",
    "html": "answers HTTP 200 with a page",
    "oversize": "answers two megabytes",
    "redirect": "answers 302 to another host",
    "stale": "aqicn: the reading is two days old",
    "no_reading": 'aqicn: the AQI is "-"',
    "closed_road": "tomtom: the road is closed",
}
_ONLY = {"stale": "aqicn", "no_reading": "aqicn", "closed_road": "tomtom"}


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fault of one source. `probability` of 0 to 1 per request; `location` limits it to one place by name."""

    source: str
    fault: str
    probability: float = 1.0
    location: str | None = None
    seconds: float = 30.0
    status: int = 500
    retry_after: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError, which msgspec turns into its ValidationError."""
        if self.source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}")
        if self.fault not in FAULTS:
            raise ValueError(f"fault must be one of {', '.join(FAULTS)}")
        if _ONLY.get(self.fault, self.source) != self.source:
            raise ValueError(f"{self.fault} is a fault of {_ONLY[self.fault]}")
        if not 0 <= self.probability <= 1:
            raise ValueError("probability must be 0 to 1")
        if not 100 <= self.status <= 599 or self.seconds < 0:
            raise ValueError("status must be 100 to 599 and seconds not negative")


class FaultBoard:
    """The faults that are switched on. Safe to share between threads; its dice depend on seed and request count."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._rolls = 0

    def add(self, *faults: Fault) -> None:
        """Switch faults on, beside those that are."""
        with self._lock:
            self._faults.extend(faults)

    def clear(self, source: str | None = None) -> None:
        """Switch off all faults, or those of one source."""
        with self._lock:
            self._faults = [fault for fault in self._faults if source is not None and fault.source != source]

    def active(self) -> list[Fault]:
        """The faults that are switched on."""
        with self._lock:
            return list(self._faults)

    def apply(self, document: bytes) -> list[Fault]:
        """Do what a JSON document says: a fault, a list of faults, or {"clear": true, "source": optional}.

        Gives the faults then active. Raises ValueError with a sentence.
        """
        content: Any = msgspec.json.decode(document)
        if isinstance(content, dict) and "clear" in content:
            source = content.get("source")
            if source is not None and source not in SOURCES:
                raise ValueError(f"source must be one of {', '.join(SOURCES)}")
            self.clear(source)
        else:
            self.add(*msgspec.convert(content if isinstance(content, list) else [content], list[Fault]))
        return self.active()

    def hitting(self, source: str, location: str | None) -> Fault | None:
        """The fault that hits a request, if any: the first whose dice fall so."""
        with self._lock:
            for fault in self._faults:
                if fault.source != source or fault.location not in (None, location):
                    continue
                self._rolls += 1
                if self._roll() < fault.probability:
                    return fault
        return None

    def _roll(self) -> float:
        digest = hashlib.blake2b(f"{self._seed}/{self._rolls}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64
