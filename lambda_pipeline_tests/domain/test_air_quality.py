"""AQI categories: EPA's bands at every boundary, and over every number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_pipeline.domain.air_quality import AQI_BANDS, aqi_category, aqi_colour, lowest_aqi

ORDER = [band.category for band in AQI_BANDS]
SENSITIVE = "Unhealthy for Sensitive Groups"


@pytest.mark.parametrize(
    ("aqi", "category"),
    [
        (0, "Good"),
        (0.0, "Good"),
        (49.9, "Good"),
        (50, "Good"),
        (math.nextafter(50, 51), "Moderate"),
        (50.4, "Moderate"),
        (50.5, "Moderate"),
        (51, "Moderate"),
        (100, "Moderate"),
        (math.nextafter(100, 101), SENSITIVE),
        (100.5, SENSITIVE),
        (101, SENSITIVE),
        (150, SENSITIVE),
        (150.5, "Unhealthy"),
        (151, "Unhealthy"),
        (200, "Unhealthy"),
        (200.01, "Very Unhealthy"),
        (201, "Very Unhealthy"),
        (300, "Very Unhealthy"),
        (300.5, "Hazardous"),
        (301, "Hazardous"),
        (500, "Hazardous"),
        (1000, "Hazardous"),
        (None, "Unknown"),
        (math.nan, "Unknown"),
    ],
)
def test_category_at_the_boundaries(aqi: float | None, category: str) -> None:
    assert aqi_category(aqi) == category


@pytest.mark.parametrize(
    ("category", "colour"),
    [
        ("Good", "#00e400"),
        ("Moderate", "#ffff00"),
        (SENSITIVE, "#ff7e00"),
        ("Unhealthy", "#ff0000"),
        ("Very Unhealthy", "#8f3f97"),
        ("Hazardous", "#7e0023"),
        ("Unknown", "#9e9e9e"),
        ("no such category", "#9e9e9e"),
    ],
)
def test_colours_are_the_official_ones(category: str, colour: str) -> None:
    assert aqi_colour(category) == colour


def test_the_bands_end_where_the_design_says() -> None:
    assert [band.upper for band in AQI_BANDS] == [50, 100, 150, 200, 300, math.inf]


@given(st.floats(0, 1e9) | st.integers(0, 10**9))
def test_every_number_lies_in_exactly_one_band(aqi: float) -> None:
    lower = [-math.inf, *(band.upper for band in AQI_BANDS)]
    holding = [band.category for band, low in zip(AQI_BANDS, lower, strict=False) if low < aqi <= band.upper]
    assert holding == [aqi_category(aqi)]


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_worse_air_is_never_a_better_category(one: float, other: float) -> None:
    assert ORDER.index(aqi_category(min(one, other))) <= ORDER.index(aqi_category(max(one, other)))


def test_every_category_is_one_contiguous_run_of_whole_numbers() -> None:
    seen = [aqi_category(aqi) for aqi in range(1001)]
    changes = [category for category, before in zip(seen[1:], seen, strict=False) if category != before]
    assert [seen[0], *changes] == ORDER


def test_the_lowest_of_a_category_is_the_first_whole_number_in_it() -> None:
    for category in ORDER:
        lowest = lowest_aqi(category)
        assert aqi_category(lowest) == category
        assert lowest == 0 or aqi_category(lowest - 1) != category
    with pytest.raises(ValueError, match="Fine"):
        lowest_aqi("Fine")
