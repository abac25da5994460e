"""Charts: a frame in, a figure out. What is drawn, in which colour, named how, resting on how many observations."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from dashboard import aggregates, charts, peak_charts, statistics_charts, theme
from dashboard.correlation import lagged_correlation
from dashboard.measures import AQI, TRAFFIC, Measure
from dashboard.peak_charts import PeakRow
from dashboard.texts import Texts
from lambda_pipeline.domain.air_quality import AQI_BANDS, aqi_category, aqi_colour
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.peak_hours import DEFAULT_PEAK_WINDOWS
from lambda_pipeline.serving import frames
from lambda_pipeline_tests.dashboard.fake_observations import HOSTILE_NAME, typed
from lambda_pipeline_tests.dashboard.fake_serving import FakeServing

T = Texts()
CLOCK = CityClock("Asia/Jakarta", DEFAULT_PEAK_WINDOWS)
DAYS = (date(2026, 3, 6), date(2026, 3, 13))
MEASURES = pytest.mark.parametrize("measure", [TRAFFIC, AQI], ids=lambda measure: measure.key)


@pytest.fixture(scope="module")
def serving() -> FakeServing:
    return FakeServing()


@pytest.fixture(scope="module")
def hours(serving: FakeServing) -> pd.DataFrame:
    return serving.get_city_hourly(*DAYS)


@pytest.fixture(scope="module")
def statistics(serving: FakeServing) -> pd.DataFrame:
    return serving.get_statistics(*DAYS)


def title(figure: go.Figure) -> str:
    return str(figure.layout.title.text)


def every_figure(serving: FakeServing, t: Texts = T) -> dict[str, go.Figure]:
    hours, statistics, shares, observed = (
        serving.get_city_hourly(*DAYS),
        serving.get_statistics(*DAYS),
        serving.get_distribution(*DAYS),
        serving.get_observed_peaks(*DAYS),
    )
    windows = DEFAULT_PEAK_WINDOWS
    figures: dict[str, go.Figure] = {
        "combined": charts.combined(hours, windows, "WIB", t),
        "observed": peak_charts.observed_peaks(peak_charts.peak_rows(observed, False), windows, "WIB", t),
        "correlation": peak_charts.correlation(lagged_correlation(hours), t),
        "trend": statistics_charts.trend(hours, CLOCK, t),
        "completeness": statistics_charts.completeness(statistics, t),
    }
    for measure in (TRAFFIC, AQI):
        figures |= {
            f"by_hour {measure.key}": charts.by_hour(hours, measure, windows, "WIB", t),
            f"kinds {measure.key}": charts.weekday_and_weekend(hours, measure, windows, "WIB", t),
            f"week {measure.key}": charts.week(hours, measure, "WIB", t),
            f"places {measure.key}": peak_charts.peak_by_location(statistics, measure, t),
            f"distribution {measure.key}": statistics_charts.distribution(shares, measure, t),
            f"ranking {measure.key}": statistics_charts.ranking(statistics, measure, False, t),
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
    hours: pd.DataFrame, measure: Measure
) -> None:
    figure = charts.by_hour(hours, measure, DEFAULT_PEAK_WINDOWS, "WIB", T)
    bars = figure.data[0]
    assert list(bars.x) == list(range(24))
    assert list(bars.marker.color) == [measure.band_of(value, T).colour for value in bars.y]
    known = hours[hours["hour"] == 7]
    expected = (known[measure.mean] * known[measure.count]).sum() / known[measure.count].sum()
    assert bars.y[7] == pytest.approx(expected)
    assert bars.customdata[7][3] == f"{known[measure.count].sum():,}"
    assert figure.layout.title.subtitle.text == f"from {hours[measure.count].sum():,} observations"


def test_the_titles_and_axes_name_what_is_measured_and_its_unit(hours: pd.DataFrame) -> None:
    figure = charts.by_hour(hours, AQI, DEFAULT_PEAK_WINDOWS, "WIB", T)
    assert title(figure) == "Average AQI by hour"
    assert figure.layout.yaxis.title.text == "AQI (US EPA index)"
    assert figure.layout.xaxis.title.text == "Hour of the day (WIB)"


def test_the_configured_peak_windows_are_shaded_around_whole_bars(hours: pd.DataFrame) -> None:
    figure = charts.by_hour(hours, TRAFFIC, DEFAULT_PEAK_WINDOWS, "WIB", T)
    assert [(shape.x0, shape.x1, shape.fillcolor) for shape in figure.layout.shapes] == [
        (5.5, 9.5, theme.PEAK_SHADE),
        (15.5, 19.5, theme.PEAK_SHADE),
    ]


def test_the_combined_view_has_two_axes_that_start_where_their_scale_starts(hours: pd.DataFrame) -> None:
    figure = charts.combined(hours, DEFAULT_PEAK_WINDOWS, "WIB", T)
    assert [trace.name for trace in figure.data] == ["Traffic (level 1 to 5)", "AQI (US EPA index)"]
    assert [trace.yaxis for trace in figure.data] == ["y", "y2"]
    assert [trace.line.dash for trace in figure.data] == ["solid", "dot"]
    assert tuple(figure.layout.yaxis.range) == (1, 5)
    low, high = figure.layout.yaxis2.range
    assert low == 0
    assert high / figure.layout.yaxis2.dtick == 4  # the same four steps as traffic's: one grid
    assert "left axis, always 1 to 5" in figure.layout.title.subtitle.text.replace("<br>", " ")


@MEASURES
def test_weekdays_and_weekends_are_told_apart_by_line_and_mark_and_say_how_many_days(
    hours: pd.DataFrame, measure: Measure
) -> None:
    weekday, weekend = charts.weekday_and_weekend(hours, measure, DEFAULT_PEAK_WINDOWS, "WIB", T).data
    assert (weekday.name, weekend.name) == ("Weekday (5 days)", "Weekend (2 days)")
    assert (weekday.line.dash, weekend.line.dash) == ("solid", "dash")
    assert weekday.marker.symbol != weekend.marker.symbol
    part = hours[~hours["is_weekend"] & (hours["hour"] == 8)]
    expected = (part[measure.mean] * part[measure.count]).sum() / part[measure.count].sum()
    assert weekday.y[8] == pytest.approx(expected)
    assert weekday.customdata[8][1] == str(part[measure.count].sum())


@MEASURES
def test_the_week_has_seven_days_by_24_hours_and_gaps_where_nothing_was_observed(
    hours: pd.DataFrame, measure: Measure
) -> None:
    heatmap = charts.week(hours, measure, "WIB", T).data[0]
    assert list(heatmap.y) == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    assert heatmap.z.shape == (7, 24)
    assert pd.isna(heatmap.z[3][23])  # Thursday's last hour is still to come
    assert not pd.isna(heatmap.z[3][14])


def test_the_hour_that_comes_twice_is_one_hour_of_the_day_and_two_hours_of_the_trend() -> None:
    """Berlin on 25 October 2026: 02:00 in summer time, then 02:00 in winter time."""
    starts = pd.date_range(datetime(2026, 10, 24, 22, tzinfo=UTC), periods=6, freq="h")
    berlin = CityClock("Europe/Berlin")
    local = starts.tz_convert(berlin.zone)
    hours = typed(
        pd.DataFrame(
            {
                "hour_start": starts,
                "date": local.tz_localize(None).normalize(),
                "hour": local.hour,
                "avg_aqi": [50.0, 60.0, 70.0, 90.0, 60.0, 50.0],
                "data_points_count": 3,
                "aqi_count": [1, 1, 1, 3, 1, 1],
                "traffic_count": 0,
                "is_weekend": True,
                "is_peak_hour": False,
            }
        ),
        frames.CITY_HOURLY,
    )
    means = aggregates.by_hour(hours, AQI).set_index("hour")
    assert (means.loc[2, "average"], means.loc[2, "observations"]) == (85.0, 4)
    line = statistics_charts.trend(hours, berlin, T).data[1]
    labels = [label for label, _ in line.customdata]
    assert labels[2:4] == ["Sun 25 Oct, 02:00 CEST–02:00 CET", "Sun 25 Oct, 02:00–03:00 CET"]
    assert list(line.y) == [50.0, 60.0, 70.0, 90.0, 60.0, 50.0]


@MEASURES
def test_locations_are_compared_by_peak_and_off_peak_with_the_worst_on_top(
    statistics: pd.DataFrame, measure: Measure
) -> None:
    figure = peak_charts.peak_by_location(statistics, measure, T)
    by_name = {trace.name: trace for trace in figure.data if trace.name}
    assert set(by_name) == {"Peak hours", "Off-peak"}
    assert by_name["Peak hours"].marker.symbol != by_name["Off-peak"].marker.symbol
    highest = list(by_name["Peak hours"].x)
    assert highest == sorted(highest, reverse=True)
    assert len(highest) == 10


def test_the_observed_peaks_are_letters_in_a_row_per_location() -> None:
    every = frozenset(range(24))
    rows = [
        PeakRow("One", frozenset({7, 8}), frozenset({8, 9}), every),
        PeakRow("Two", frozenset(), frozenset(), frozenset({7})),
    ]
    figure = peak_charts.observed_peaks(rows, DEFAULT_PEAK_WINDOWS, "WIB", T)
    (matrix,) = figure.data
    assert "".join(letter or "." for letter in matrix.text[0]) == ".......TBA.............."
    assert list(matrix.z[1]) == [0 if hour == 7 else None for hour in range(24)]  # nothing observed is no colour
    assert matrix.customdata[0][8][1] == "traffic and AQI peak"
    assert [(shape.x0, shape.x1, shape.line.dash) for shape in figure.layout.shapes] == [
        (5.5, 9.5, "dot"),
        (15.5, 19.5, "dot"),
    ]


def test_the_citys_observed_peaks_follow_the_domains_rule(serving: FakeServing, hours: pd.DataFrame) -> None:
    assert aggregates.city_peaks(hours, TRAFFIC, is_weekend=False) == {7, 8, 16, 17, 18, 19}
    assert aggregates.city_peaks(hours, TRAFFIC, is_weekend=True) == frozenset()  # two days are too few
    observed = serving.get_observed_peaks(*DAYS, ("Krukut",))
    (row,) = peak_charts.peak_rows(observed, is_weekend=False)
    alone = serving.get_city_hourly(*DAYS, ("Krukut",))
    assert row.traffic == aggregates.city_peaks(alone, TRAFFIC, is_weekend=False)
    assert row.aqi == aggregates.city_peaks(alone, AQI, is_weekend=False)


@MEASURES
def test_the_distribution_has_every_band_and_counts_every_hour_once(serving: FakeServing, measure: Measure) -> None:
    shares = serving.get_distribution(*DAYS)
    bars = statistics_charts.distribution(shares, measure, T).data[0]
    assert list(bars.marker.color) == [band.colour for band in measure.bands(T)]
    assert list(bars.x) == list(shares.loc[shares["measure"] == measure.key, "hours"])
    assert sum(bars.x) == serving.get_hourly(*DAYS)[measure.mean].notna().sum()


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


def test_the_trend_is_by_hour_in_city_time_and_by_day_over_a_long_range(hours: pd.DataFrame) -> None:
    figure = statistics_charts.trend(hours, CLOCK, T)
    assert title(figure) == "Trend, city average per hour"
    assert figure.data[0].customdata[0][0] == "Fri 6 Mar, 00:00–01:00 WIB"
    assert list(figure.layout.xaxis.ticktext) == [f"{day} Mar" for day in range(6, 13)]
    two = pd.concat([hours.assign(date=hours["date"] + pd.Timedelta(days=7 * n)) for n in range(2)])
    daily = statistics_charts.trend(two, CLOCK, T)
    assert title(daily) == "Trend, city average per day"
    assert daily.data[0].customdata[0][0] == "6 Mar 2026"
    assert len(daily.layout.xaxis.ticktext) <= 8


def test_a_gap_in_the_trend_is_a_gap(hours: pd.DataFrame) -> None:
    holed = hours.drop(index=range(20, 25))
    line = statistics_charts.trend(holed, CLOCK, T).data[1]
    assert len(line.x) == len(hours)
    assert [number for number, value in enumerate(line.y) if np.isnan(value)] == list(range(20, 25))
    assert line.connectgaps is False


@MEASURES
def test_the_ranking_leaves_the_city_out_and_colours_by_band(statistics: pd.DataFrame, measure: Measure) -> None:
    bars = statistics_charts.ranking(statistics, measure, False, T).data[0]
    assert len(bars.x) == 10
    assert list(bars.x) == sorted(bars.x, reverse=True)
    if measure is AQI:
        assert list(bars.marker.color) == [aqi_colour(aqi_category(value)) for value in bars.x]
    lowest = statistics_charts.ranking(statistics, measure, True, T).data[0]
    assert list(lowest.x) == sorted(bars.x)


def test_of_many_locations_twenty_are_drawn_and_the_chart_says_so(statistics: pd.DataFrame) -> None:
    places = statistics[statistics["location"].notna()]
    many = pd.concat(
        [places.assign(location=[f"{name} {n}" for name in places["location"]]) for n in range(100)], ignore_index=True
    )
    for figure in (
        statistics_charts.ranking(many, AQI, False, T),
        statistics_charts.ranking(many, AQI, True, T),
        statistics_charts.completeness(many, T),
        peak_charts.peak_by_location(many, TRAFFIC, T),
    ):
        assert "of 1,000" in figure.layout.title.subtitle.text.replace("<br>", " ")
        assert len(figure.to_json()) < 20_000


def test_completeness_counts_only_hours_that_say_what_was_expected(
    hours: pd.DataFrame, statistics: pd.DataFrame
) -> None:
    received, expected = aggregates.city_completeness(hours)
    known = hours[hours["expected_count"].notna()]
    assert received == known["data_points_count"].sum() < hours["data_points_count"].sum()
    assert expected == known["expected_count"].sum()
    places = aggregates.completeness(statistics)
    assert places["share"].is_monotonic_increasing
    assert places["share"].max() <= 1
    assert len(places) == 10


def test_a_long_name_takes_two_lines_and_a_number_for_a_name_is_no_number(statistics: pd.DataFrame) -> None:
    named = statistics.assign(location=statistics["location"].replace({"Krukut": "12", "Cinere": "So long " * 9}))
    axis = statistics_charts.ranking(named, AQI, False, T).layout.yaxis
    assert axis.type == "category"
    assert "12" in axis.ticktext
    assert "So long So long So<br>long So long So…" in axis.ticktext
    assert all(name.count("<br>") <= 1 for name in axis.ticktext)


def test_every_figure_can_be_made_without_rows_and_with_either_half_missing() -> None:
    for variant in (FakeServing.empty(), FakeServing.without("aqi"), FakeServing.without("traffic")):
        for name, figure in every_figure(variant).items():
            assert title(figure), name
            assert figure.to_json(), name


def test_a_name_from_outside_never_reaches_plotlys_markup() -> None:
    for name, figure in every_figure(FakeServing.hostile()).items():
        assert "<img" not in figure.to_json().replace("\\u003c", "<"), name
    statistics = FakeServing.hostile().get_statistics(*DAYS)
    names = peak_charts.peak_by_location(statistics, AQI, T).data[1].y
    assert HOSTILE_NAME.replace("<", "&lt;").replace(">", "&gt;") in list(names)


def test_every_figure_writes_numbers_with_the_signs_of_the_language() -> None:
    for name, figure in every_figure(FakeServing(), Texts("id")).items():
        assert figure.layout.separators == ",.", name
