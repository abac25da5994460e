"""Charts: a frame in, a figure out. What is drawn, in which colour, named how, resting on how many observations."""

from datetime import date
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from dashboard import aggregates, charts, statistics_charts, theme
from dashboard.measures import AQI, TRAFFIC, Measure
from dashboard.texts import Texts
from lambda_pipeline.domain.air_quality import AQI_BANDS, aqi_category, aqi_colour
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.peak_hours import DEFAULT_PEAK_WINDOWS
from lambda_pipeline_tests.dashboard.fake_serving import HOSTILE_NAME, FakeServing

T = Texts()
CLOCK = CityClock("Asia/Jakarta", DEFAULT_PEAK_WINDOWS)
DAYS = (date(2026, 3, 6), date(2026, 3, 13))
MEASURES = pytest.mark.parametrize("measure", [TRAFFIC, AQI], ids=lambda measure: measure.key)


@pytest.fixture(scope="module")
def serving() -> FakeServing:
    return FakeServing()


@pytest.fixture(scope="module")
def peaks(serving: FakeServing) -> pd.DataFrame:
    return serving.get_peak_hours_analysis(*DAYS)


@pytest.fixture(scope="module")
def hourly(serving: FakeServing) -> pd.DataFrame:
    return serving.get_hourly(*DAYS)


@pytest.fixture(scope="module")
def statistics(serving: FakeServing) -> pd.DataFrame:
    return serving.get_statistics(*DAYS)


def title(figure: go.Figure) -> str:
    return str(figure.layout.title.text)


def every_figure(serving: FakeServing) -> dict[str, go.Figure]:
    peaks, hourly, statistics = (
        serving.get_peak_hours_analysis(*DAYS),
        serving.get_hourly(*DAYS),
        serving.get_statistics(*DAYS),
    )
    figures: dict[str, go.Figure] = {
        "combined": charts.combined(peaks, DEFAULT_PEAK_WINDOWS, "WIB", T),
        "trend": statistics_charts.trend(hourly, CLOCK, T),
        "completeness": statistics_charts.completeness(hourly, T),
    }
    for measure in (TRAFFIC, AQI):
        figures |= {
            f"by_hour {measure.key}": charts.by_hour(peaks, measure, DEFAULT_PEAK_WINDOWS, "WIB", T),
            f"week {measure.key}": charts.week(peaks, measure, "WIB", T),
            f"places {measure.key}": charts.peak_by_location(peaks, measure, T),
            f"distribution {measure.key}": statistics_charts.distribution(hourly, measure, T),
            f"ranking {measure.key}": statistics_charts.ranking(statistics, measure, T),
        }
    return figures


def test_a_weighted_average_weighs_by_observations_and_leaves_missing_ones_out() -> None:
    frame = pd.DataFrame(
        {"hour": [7, 7, 7, 8], "value": [1.0, 4.0, None, None], "n": [3, 1, 0, 0]},
    )
    result = aggregates.weighted(frame, ["hour"], "value", "n")
    assert result.to_dict("records") == [{"hour": 7, "observations": 4, "average": 1.75}]


@MEASURES
def test_bars_by_hour_carry_the_colour_of_their_band_and_the_observations(
    peaks: pd.DataFrame, measure: Measure
) -> None:
    figure = charts.by_hour(peaks, measure, DEFAULT_PEAK_WINDOWS, "WIB", T)
    bars = figure.data[0]
    assert list(bars.x) == list(range(24))
    assert list(bars.marker.color) == [measure.band_of(value, T).colour for value in bars.y]
    known = peaks[peaks["hour"] == 7]
    expected = (known[measure.hourly] * known[measure.count]).sum() / known[measure.count].sum()
    assert bars.y[7] == pytest.approx(expected)
    assert bars.customdata[7][3] == f"{known[measure.count].sum():,}"


def test_the_titles_and_axes_name_what_is_measured_and_its_unit(peaks: pd.DataFrame) -> None:
    figure = charts.by_hour(peaks, AQI, DEFAULT_PEAK_WINDOWS, "WIB", T)
    assert title(figure) == "Average AQI by hour"
    assert figure.layout.yaxis.title.text == "AQI (US EPA index)"
    assert figure.layout.xaxis.title.text == "Hour of the day (WIB)"


def test_the_configured_peak_windows_are_shaded_around_whole_bars(peaks: pd.DataFrame) -> None:
    figure = charts.by_hour(peaks, TRAFFIC, DEFAULT_PEAK_WINDOWS, "WIB", T)
    assert [(shape.x0, shape.x1, shape.fillcolor) for shape in figure.layout.shapes] == [
        (5.5, 9.5, theme.PEAK_SHADE),
        (15.5, 19.5, theme.PEAK_SHADE),
    ]


def test_the_combined_view_has_two_axes_that_start_where_their_scale_starts(peaks: pd.DataFrame) -> None:
    figure = charts.combined(peaks, DEFAULT_PEAK_WINDOWS, "WIB", T)
    assert [trace.name for trace in figure.data] == ["Traffic level (level 1 to 5)", "AQI (US EPA index)"]
    assert [trace.yaxis for trace in figure.data] == ["y", "y2"]
    assert tuple(figure.layout.yaxis.range) == (1, 5)
    low, high = figure.layout.yaxis2.range
    assert low == 0
    assert high / figure.layout.yaxis2.dtick == 4  # the same four steps as traffic's: one grid


@MEASURES
def test_the_week_has_seven_days_by_24_hours_and_gaps_where_nothing_was_observed(
    peaks: pd.DataFrame, measure: Measure
) -> None:
    heatmap = charts.week(peaks, measure, "WIB", T).data[0]
    assert list(heatmap.y) == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    assert heatmap.z.shape == (7, 24)
    assert pd.isna(heatmap.z[3][23])  # Thursday's last hour is still to come
    assert not pd.isna(heatmap.z[3][14])


@MEASURES
def test_locations_are_compared_by_peak_and_off_peak_with_the_worst_on_top(
    peaks: pd.DataFrame, measure: Measure
) -> None:
    figure = charts.peak_by_location(peaks, measure, T)
    by_name = {trace.name: trace for trace in figure.data if trace.name}
    assert set(by_name) == {"Peak hours", "Off-peak"}
    highest = list(by_name["Peak hours"].x)
    assert highest == sorted(highest, reverse=True)
    assert len(highest) == 10


@MEASURES
def test_the_distribution_has_every_band_and_counts_every_hour_once(hourly: pd.DataFrame, measure: Measure) -> None:
    bars = statistics_charts.distribution(hourly, measure, T).data[0]
    assert list(bars.marker.color) == [band.colour for band in measure.bands(T)]
    assert sum(bars.x) == hourly[measure.mean].notna().sum()


def test_the_aqi_bands_are_epas_with_their_official_colours() -> None:
    assert [(band.key, band.colour) for band in AQI.bands(T)] == [(band.category, band.colour) for band in AQI_BANDS]
    assert [band.label.split()[0] for band in AQI.bands(T)] == [
        "0–50",
        "51–100",
        "101–150",
        "151–200",
        "201–300",
        "301+",
    ]


def test_the_trend_is_by_hour_in_city_time_and_by_day_over_a_long_range(hourly: pd.DataFrame) -> None:
    assert title(statistics_charts.trend(hourly, CLOCK, T)) == "Trend, city average per hour"
    line = aggregates.trend(hourly, AQI, CLOCK, is_daily=False)
    assert line["label"].iloc[0] == "Fri 06 Mar, 00:00 WIB"
    many_days = pd.concat([hourly.assign(date=hourly["date"] + pd.Timedelta(days=7 * n)) for n in range(2)])
    assert title(statistics_charts.trend(many_days, CLOCK, T)) == "Trend, city average per day"


@MEASURES
def test_the_ranking_leaves_the_city_out_and_colours_by_band(statistics: pd.DataFrame, measure: Measure) -> None:
    bars = statistics_charts.ranking(statistics, measure, T).data[0]
    assert len(bars.x) == 10
    assert list(bars.x) == sorted(bars.x, reverse=True)
    if measure is AQI:
        assert list(bars.marker.color) == [aqi_colour(aqi_category(value)) for value in bars.x]


def test_completeness_counts_only_hours_that_say_what_was_expected(hourly: pd.DataFrame) -> None:
    places = aggregates.completeness(hourly)
    known = hourly[hourly["expected_count"].notna()]
    assert places["received"].sum() == known["data_points_count"].sum() < hourly["data_points_count"].sum()
    assert places["expected"].sum() == known["expected_count"].sum()
    assert places["share"].is_monotonic_increasing


def test_every_figure_can_be_made_without_rows_and_with_either_half_missing() -> None:
    for variant in (FakeServing.empty(), FakeServing.without("aqi"), FakeServing.without("traffic")):
        for name, figure in every_figure(variant).items():
            assert title(figure), name
            assert figure.to_json(), name


def test_a_name_from_outside_never_reaches_plotlys_markup() -> None:
    for name, figure in every_figure(FakeServing.hostile()).items():
        assert "<img" not in figure.to_json().replace("\\u003c", "<"), name
    names = charts.peak_by_location(FakeServing.hostile().get_peak_hours_analysis(*DAYS), AQI, T).data[1].y
    assert HOSTILE_NAME.replace("<", "&lt;").replace(">", "&gt;") in list(names)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "just now"), (42, "42 s ago"), (150, "2 min ago"), (3660 * 2, "2 h 2 min ago"), (90000 * 3, "3 days ago")],
)
def test_an_age_is_written_in_the_unit_that_says_enough(seconds: float, written: str) -> None:
    assert T.age(seconds) == written


@pytest.mark.parametrize(("value", "written"), [(1234567, "1,234,567"), (float("nan"), "–"), (None, "–"), (pd.NA, "–")])
def test_a_missing_number_is_a_dash_and_never_a_zero(value: Any, written: str) -> None:
    assert T.number(value) == written
