"""City time: which hour and which day an instant belongs to.

The key of an hour is the instant at which it starts, so the hour that happens twice when clocks go back stays two
hours. PostgreSQL's `date_trunc('hour', ts, zone)` gives the same instant; a property test holds the two together.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lambda_pipeline.domain.peak_hours import PeakWindow, is_peak_hour
from lambda_pipeline.errors import CatalogueError

HOUR = timedelta(hours=1)
_QUARTER_SECONDS = 900  # every zone's offset is a multiple of it, so that whatever depends on the hour can be cached


class CityClock:
    """Converts between instants (aware datetimes) and a city's hours and days."""

    def __init__(self, timezone: str, peak_windows: tuple[PeakWindow, ...] = ()) -> None:
        """Raises CatalogueError where the zone does not exist."""
        try:
            self.zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise CatalogueError(
                f"time zone {timezone!r} is not known.", "Use an IANA name such as Asia/Jakarta."
            ) from error
        self.timezone = timezone
        self.peak_windows = peak_windows
        self._of_quarter = lru_cache(maxsize=100_000)(self._compute)

    def _compute(self, quarter: int) -> tuple[datetime, date, int, bool]:
        instant = datetime.fromtimestamp(quarter * _QUARTER_SECONDS, UTC)
        local = instant.astimezone(self.zone)
        start = instant - timedelta(minutes=local.minute, seconds=local.second)
        return start, local.date(), local.hour, is_peak_hour(local.hour, self.peak_windows)

    def place(self, instant: datetime) -> tuple[datetime, date, int, bool]:
        """(start of its hour in UTC, city date, city hour 0-23, in a peak window) of an aware instant."""
        return self._of_quarter(int(instant.timestamp() // _QUARTER_SECONDS))

    def hour_start(self, instant: datetime) -> datetime:
        """UTC instant at which the city hour of `instant` starts."""
        return self.place(instant)[0]

    def city_date(self, instant: datetime) -> date:
        """Calendar day of `instant` in the city."""
        return self.place(instant)[1]

    def day_start(self, day: date) -> datetime:
        """UTC instant at which a city day starts (its first existing moment)."""
        return datetime.combine(day, time(), self.zone).astimezone(UTC)

    def local(self, instant: datetime) -> datetime:
        """The instant in the city's time."""
        return instant.astimezone(self.zone)

    def parse(self, text: str) -> datetime:
        """A date or a date and time as an instant in UTC; without an offset it means city time.

        Raises ValueError with a sentence for the user.
        """
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is not a date or time; write 2025-01-31 or 2025-01-31T06:00.") from error
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self.zone)
        try:
            return moment.astimezone(UTC)
        except OverflowError as error:
            raise ValueError(f"{text!r} is out of range.") from error

    def refuse_odd_shifts(self, first: date, last: date) -> None:
        """Raise CatalogueError if the zone's clocks move by other than whole hours between the two days.

        An hour's key would then not stand for sixty minutes. Sampled daily: no zone shifts twice within a day.
        """
        noon = datetime.combine(first, time(12), UTC)
        offset = noon.astimezone(self.zone).utcoffset()
        while noon.date() <= last:
            now = noon.astimezone(self.zone).utcoffset()
            if now is not None and offset is not None and (now - offset) % HOUR:
                raise CatalogueError(
                    f"the clocks of {self.timezone} move by {abs(now - offset)} around {noon.date()}, "
                    "which is not a whole number of hours.",
                    "Such zones are not supported; use a fixed zone of the same hours, e.g. Etc/GMT-11.",
                )
            offset, noon = now, noon + timedelta(days=1)
