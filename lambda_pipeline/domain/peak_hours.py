"""Peak hours: the rush-hour windows of a city, on whole hours of its own time, and the peaks that its data show.

The windows are assumed (`LAMBDA_CITY`'s catalogue). What the data show is read off an average day: a peak is as wide
as it is at half its height, the usual measure of a peak's width (full width at half maximum, FWHM; as
`scipy.signal.peak_widths` takes it at half of the peak's prominence).
"""

from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class ObservedPeakRule:
    """When an hour counts as an observed peak of a measure.

    Its average is at least `share` of the way from the calmest to the worst hour of the average day. Hours observed on
    fewer than `least_days` days are left out, and a day that varies by less than `least_range` has no peak: a band of
    AQI is 50 wide and a traffic level 1, and noise should not make a rush hour.
    """

    measure: str
    share: float
    least_days: int
    least_range: float


OBSERVED_PEAK_RULES: tuple[ObservedPeakRule, ...] = (
    ObservedPeakRule("traffic", 0.5, 3, 0.5),
    ObservedPeakRule("aqi", 0.5, 3, 10.0),
)
OBSERVED_PEAK_DAYS = 28
"""City days that the observed peaks are read off by default: four of each weekday."""


def observed_peaks(profile: Mapping[int, tuple[float, int]], rule: ObservedPeakRule) -> frozenset[int]:
    """The city hours that are peaks of an average day; `profile` is hour: (average, days observed)."""
    averages = {hour: average for hour, (average, days) in profile.items() if days >= rule.least_days}
    if not averages:
        return frozenset()
    calm, worst = min(averages.values()), max(averages.values())
    if worst - calm < rule.least_range:
        return frozenset()
    return frozenset(hour for hour, average in averages.items() if average >= calm + rule.share * (worst - calm))
