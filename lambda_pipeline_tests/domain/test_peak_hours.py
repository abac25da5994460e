"""Peak hours: half-open windows on whole hours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_pipeline.domain.peak_hours import DEFAULT_PEAK_WINDOWS, PeakWindow, is_peak_hour


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
