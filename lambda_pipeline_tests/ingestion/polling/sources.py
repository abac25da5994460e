"""Sources that answer what a test wants, a clock, and what they all speak of."""

from datetime import UTC, datetime, timedelta

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.ingestion.aqicn import Reading
from lambda_pipeline.ingestion.source_errors import ErrorKind, SourceError
from lambda_pipeline.ingestion.tomtom import Flow

SLOT = datetime(2025, 3, 5, 1, 0, tzinfo=UTC)
PLACE = Location("Kebon Sirih", "A521365", -6.1861, 106.8236)
FLOW = Flow(20.0, 40.0, False)
READING = Reading(93, SLOT - timedelta(minutes=20), "pm25", {"pm25": 93.0}, [{"name": "A", "url": "https://a.example"}])


class Clock:
    """Monotonic seconds."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class FakeTomTom:
    def __init__(self) -> None:
        self.answer: Flow | Exception = FLOW
        self.asked: list[tuple[float, float]] = []

    def flow(self, latitude: float, longitude: float) -> Flow:
        self.asked.append((latitude, longitude))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class FakeAqicn:
    def __init__(self) -> None:
        self.answer: Reading | Exception = READING
        self.asked: list[str] = []

    def feed(self, station: str) -> Reading:
        self.asked.append(station)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def refused(source: str, kind: ErrorKind) -> SourceError:
    return SourceError(source, kind, "HTTP 403")
