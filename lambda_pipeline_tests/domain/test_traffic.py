"""Traffic level: the design's bands at every boundary, and over all speeds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_pipeline.domain.traffic import TRAFFIC_LEVELS, congestion_ratio, traffic_level, traffic_level_name

SPEEDS = st.floats(0, 300)
FREE_FLOWS = st.floats(0.001, 300)


@pytest.mark.parametrize(
    ("current", "free_flow", "level"),
    [
        (100, 100, 1),
        (120, 100, 1),  # faster than free flow
        (90.1, 100, 1),
        (90, 100, 2),  # a tenth exactly
        (9, 10, 2),
        (27, 30, 2),
        (63, 70, 2),
        (0.9, 1, 2),
        (89.99999999, 100, 2),
        (90.0000001, 100, 1),
        (90.00000001, 100, 2),  # a tenth when rounded to nine decimals
        (70.1, 100, 2),
        (70, 100, 3),
        (49, 70, 3),  # in floats 0.3 and 0.29999999999999999
        (7, 10, 3),
        (35, 50, 3),
        (23.1, 33, 3),
        (0.7, 1, 3),
        (50.1, 100, 3),
        (50, 100, 4),
        (5, 10, 4),
        (16.5, 33, 4),
        (0.1, 0.2, 4),
        (30.1, 100, 4),
        (30, 100, 5),
        (3, 10, 5),
        (21, 70, 5),
        (0.3, 1, 5),
        (9.9, 33, 5),
        (0, 100, 5),
        (0, 300, 5),
    ],
)
def test_level_at_the_boundaries(current: float, free_flow: float, level: int) -> None:
    assert traffic_level(current, free_flow) == level


@pytest.mark.parametrize("tenths", [1, 3, 5, 7])
@pytest.mark.parametrize("scale", [1, 3, 7, 9, 11, 13, 29.9, 1 / 3, 0.1])
def test_a_boundary_belongs_to_the_level_above_whatever_floats_make_of_it(tenths: int, scale: float) -> None:
    below = {1: 1, 3: 2, 5: 3, 7: 4}[tenths]
    assert traffic_level((10 - tenths) * scale, 10 * scale) == below + 1


@pytest.mark.parametrize(
    ("current", "free_flow"), [(None, None), (50, None), (None, 50), (50, 0), (0, 0), (50, -1), (None, 0)]
)
def test_no_level_without_a_positive_free_flow(current: float | None, free_flow: float | None) -> None:
    assert traffic_level(current, free_flow) is None
    assert congestion_ratio(current, free_flow) is None


@pytest.mark.parametrize(("current", "free_flow"), [(None, None), (50, 50), (0, 0), (50, None), (None, 50)])
def test_a_closed_road_is_jammed_whatever_its_speeds(current: float | None, free_flow: float | None) -> None:
    assert traffic_level(current, free_flow, road_closure=True) == 5


@pytest.mark.parametrize("closure", [False, None])
def test_a_road_that_is_not_closed_is_judged_by_its_speeds(closure: bool | None) -> None:
    assert traffic_level(80, 100, closure) == 2


@pytest.mark.parametrize(
    ("current", "free_flow", "ratio"),
    [(9, 10, 0.1), (49, 70, 0.3), (0, 1, 1.0), (1, 1, 0.0), (3, 2, -0.5), (2, 3, 0.333333333), (1, 3, 0.666666667)],
)
def test_ratio_has_nine_decimals(current: float, free_flow: float, ratio: float) -> None:
    assert congestion_ratio(current, free_flow) == ratio


def test_the_bands_meet_without_gap_or_overlap() -> None:
    assert [band.level for band in TRAFFIC_LEVELS] == [1, 2, 3, 4, 5]
    assert [band.below for band in TRAFFIC_LEVELS] == [0.1, 0.3, 0.5, 0.7, math.inf]


@given(SPEEDS, FREE_FLOWS)
def test_every_pair_of_speeds_lies_in_exactly_one_band(current: float, free_flow: float) -> None:
    ratio = congestion_ratio(current, free_flow)
    assert ratio is not None
    lower = [-math.inf, *(band.below for band in TRAFFIC_LEVELS)]
    holding = [band.level for band, low in zip(TRAFFIC_LEVELS, lower, strict=False) if low <= ratio < band.below]
    assert holding == [traffic_level(current, free_flow)]


@given(SPEEDS, SPEEDS, FREE_FLOWS)
def test_slower_is_never_a_lower_level(one: float, other: float, free_flow: float) -> None:
    slow, fast = traffic_level(min(one, other), free_flow), traffic_level(max(one, other), free_flow)
    assert slow is not None
    assert fast is not None
    assert slow >= fast


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (1, "Lancar"),
        (2, "Agak Lancar"),
        (3, "Sedang"),
        (4, "Padat"),
        (5, "Macet Total"),
        (1.49, "Lancar"),
        (1.5, "Agak Lancar"),
        (2.5, "Sedang"),
        (4.5, "Macet Total"),
        (None, "Unknown"),
        (math.nan, "Unknown"),
    ],
)
def test_names(level: float | None, name: str) -> None:
    assert traffic_level_name(level) == name


def test_english_names() -> None:
    assert [band.english for band in TRAFFIC_LEVELS] == ["free", "light", "moderate", "heavy", "jammed"]
