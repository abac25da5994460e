"""Peak hours: half-open windows on whole hours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_pipeline.domain.peak_hours import (
    DEFAULT_PEAK_WINDOWS,
    OBSERVED_PEAK_RULES,
    ObservedPeakRule,
    PeakWindow,
    is_peak_hour,
    observed_peaks,
)


@pytest.mark.parametrize("hour", range(24))
def test_the_default_windows_are_half_open(hour: int) -> None:
    assert is_peak_hour(hour, DEFAULT_PEAK_WINDOWS) == (hour in {6, 7, 8, 9, 16, 17, 18, 19})


@pytest.mark.parametrize(
    ("start", "end", "inside"),
    [(0, 24, range(24)), (0, 1, range(1)), (23, 24, range(23, 24)), (5, 7, range(5, 7))],
)
def test_a_window_holds_its_start_and_not_its_end(start: int, end: int, inside: range) -> None:
    assert [hour for hour in range(24) if is_peak_hour(hour, (PeakWindow(start, end),))] == list(inside)


def test_a_city_may_have_no_peak_hours() -> None:
    assert not any(is_peak_hour(hour, ()) for hour in range(24))


@pytest.mark.parametrize(("start", "end"), [(10, 10), (10, 6), (-1, 5), (20, 25), (24, 24)])
def test_a_window_must_start_before_it_ends_within_the_day(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="must start before it ends"):
        PeakWindow(start, end)


def test_a_window_is_written_as_times() -> None:
    assert str(PeakWindow(6, 10)) == "06:00-10:00"


@given(st.lists(st.tuples(st.integers(0, 23), st.integers(1, 24)).filter(lambda ends: ends[0] < ends[1])))
def test_windows_mean_the_union_of_their_hours(ends: list[tuple[int, int]]) -> None:
    windows = tuple(PeakWindow(*pair) for pair in ends)
    inside = {hour for start, end in ends for hour in range(start, end)}
    assert {hour for hour in range(24) if is_peak_hour(hour, windows)} == inside


# ---------------------------------------------------------------- observed peaks

TRAFFIC, AQI = OBSERVED_PEAK_RULES


def day(*averages: float | None, days: int = 20) -> dict[int, tuple[float, int]]:
    """The profile of an average day from its first hours; None where nothing was observed."""
    return {hour: (average, days) for hour, average in enumerate(averages) if average is not None}


def test_a_peak_is_as_wide_as_at_half_its_height() -> None:
    assert observed_peaks(day(1, 2, 3.1, 5, 3, 2.9, 1), TRAFFIC) == {2, 3, 4}


def test_a_day_may_have_two_peaks_and_the_lower_one_counts_where_it_is_high_enough() -> None:
    assert observed_peaks(day(1, 4, 1, 1, 3, 1, 1), TRAFFIC) == {1, 4}
    assert observed_peaks(day(1, 4, 1, 1, 2.4, 1, 1), TRAFFIC) == {1}


@pytest.mark.parametrize(("rule", "flat"), [(TRAFFIC, (1.0, 1.4, 1.49)), (AQI, (50.0, 55.0, 59.9))])
def test_a_flat_day_has_no_peak(rule: ObservedPeakRule, flat: tuple[float, ...]) -> None:
    assert observed_peaks(day(*flat), rule) == frozenset()
    assert observed_peaks(day(*flat, flat[0] + rule.least_range), rule)


def test_hours_observed_too_seldom_are_neither_peaks_nor_their_measure() -> None:
    profile = day(1, 2, 1) | {5: (5.0, TRAFFIC.least_days - 1)}
    assert observed_peaks(profile, TRAFFIC) == {1}
    assert observed_peaks(day(1, 5, days=TRAFFIC.least_days - 1), TRAFFIC) == frozenset()
    assert observed_peaks({}, TRAFFIC) == frozenset()


@given(st.dictionaries(st.integers(0, 23), st.tuples(st.floats(1, 5), st.integers(0, 9))))
def test_the_worst_hour_is_a_peak_wherever_there_is_one_and_the_calmest_never(
    profile: dict[int, tuple[float, int]],
) -> None:
    peaks = observed_peaks(profile, TRAFFIC)
    known = {hour: average for hour, (average, days) in profile.items() if days >= TRAFFIC.least_days}
    if not peaks:
        assert not known or max(known.values()) - min(known.values()) < TRAFFIC.least_range
        return
    assert {hour for hour, average in known.items() if average == max(known.values())} <= peaks
    assert not {hour for hour, average in known.items() if average == min(known.values())} & peaks
