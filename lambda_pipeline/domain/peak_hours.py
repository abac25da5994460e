"""Peak hours: the rush-hour windows of a city, on whole hours of its own time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeakWindow:
    """Half-open window [start_hour, end_hour) of city hours, 0 <= start < end <= 24."""

    start_hour: int
    end_hour: int

    def __post_init__(self) -> None:
        if not 0 <= self.start_hour < self.end_hour <= 24:
            raise ValueError(
                f"a peak window must start before it ends, within 00:00 to 24:00: "
                f"{self.start_hour:02d}:00 to {self.end_hour:02d}:00"
            )

    def __str__(self) -> str:
        return f"{self.start_hour:02d}:00-{self.end_hour:02d}:00"


DEFAULT_PEAK_WINDOWS: tuple[PeakWindow, ...] = (PeakWindow(6, 10), PeakWindow(16, 20))


def is_peak_hour(city_hour: int, windows: tuple[PeakWindow, ...]) -> bool:
    """Whether an hour of the day (0 to 23, in the city's time) lies in one of the windows."""
    return any(window.start_hour <= city_hour < window.end_hour for window in windows)
