"""Maps: a HEATMAP frame in, a figure out."""

from datetime import timedelta

import pandas as pd
import pytest

from dashboard import labels, maps, theme
from dashboard.maps import MapOptions, conditions_map
from dashboard.measures import AQI, TRAFFIC, Measure
from dashboard.texts import Texts
from lambda_pipeline.domain.air_quality import AQI_BANDS
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.traffic import TRAFFIC_LEVELS
from lambda_pipeline_tests.dashboard.fake_serving import HOSTILE_NAME, NOW, PLACES, FakeServing

T = Texts()
CLOCK = CityClock("Asia/Jakarta")
MEASURES = pytest.mark.parametrize("measure", [TRAFFIC, AQI], ids=lambda measure: measure.key)


@pytest.fixture(scope="module")
def conditions() -> pd.DataFrame:
    return FakeServing().get_combined_heatmap_data()


def in_legend(figure: object) -> list[object]:
    return [trace for trace in figure.data if trace.type == "scattermap" and trace.showlegend]  # type: ignore[attr-defined]


def test_the_legend_has_every_traffic_level_and_every_epa_category_in_their_colours(conditions: pd.DataFrame) -> None:
    traffic = in_legend(conditions_map(conditions, TRAFFIC, CLOCK, T, MapOptions()))
    assert [trace.name.split()[0] for trace in traffic] == [str(level.level) for level in TRAFFIC_LEVELS]
    assert [trace.marker.color for trace in traffic] == list(theme.TRAFFIC_COLOURS.values())
    aqi = in_legend(conditions_map(conditions, AQI, CLOCK, T, MapOptions()))
    assert [trace.marker.color for trace in aqi] == [band.colour for band in AQI_BANDS]


@MEASURES
def test_every_place_has_its_number_on_its_point_and_its_name_beside_it(
    conditions: pd.DataFrame, measure: Measure
) -> None:
    figure = conditions_map(conditions, measure, CLOCK, T, MapOptions())
    numbers = [text for trace in in_legend(figure) for text in trace.text]
    assert sorted(numbers) == sorted(str(value) for value in conditions[measure.current])
    names = [text for trace in figure.data if trace.name == "names" for text in trace.text]
    assert sorted(name.replace("<br>", " ").replace("\u00a0", " ") for name in names) == sorted(PLACES)


@MEASURES
def test_a_glow_has_the_colour_of_its_band_alone(conditions: pd.DataFrame, measure: Measure) -> None:
    figure = conditions_map(conditions, measure, CLOCK, T, MapOptions())
    glows = [trace for trace in figure.data if trace.type == "densitymap"]
    assert sum(len(trace.lat) for trace in glows) == len(conditions)
    colours = {band.label: band.colour for band in measure.bands(T)}
    for glow in glows:
        assert glow.colorscale[-1][1] == theme.with_alpha(colours[glow.name], 0.6)


def test_without_tiles_nothing_on_the_map_has_an_address(conditions: pd.DataFrame) -> None:
    figure = conditions_map(conditions, AQI, CLOCK, T, MapOptions())
    assert not figure.layout.map.layers
    assert "http" not in str(figure.layout.map.style)
    assert "glyphs" not in figure.layout.map.style  # letters are drawn by the browser, not fetched
    assert figure.layout.map.style["sources"]  # Plotly drops an empty one, and the style is then invalid


def test_tiles_lie_below_the_traces_with_their_attribution_as_text(conditions: pd.DataFrame) -> None:
    options = MapOptions("http://127.0.0.1/{z}/{x}/{y}.png", "<b>© someone</b>")
    (layer,) = conditions_map(conditions, AQI, CLOCK, T, options).layout.map.layers
    assert (layer.below, layer.sourcetype, layer.source) == ("traces", "raster", (options.tile_url,))
    assert layer.sourceattribution == "&lt;b&gt;© someone&lt;/b&gt;"


def test_centre_and_zoom_are_left_to_the_browser_which_knows_its_width(conditions: pd.DataFrame) -> None:
    layout = conditions_map(conditions, AQI, CLOCK, T, MapOptions()).layout
    assert layout.map.center.to_plotly_json() == {}
    assert layout.map.zoom is None
    assert layout.uirevision == "kept"


def test_the_ground_follows_the_theme_unless_tiles_lie_on_it() -> None:
    assert MapOptions(is_dark=True).colours == theme.DARK_MAP
    assert MapOptions(is_dark=False).colours == theme.LIGHT_MAP
    assert MapOptions("http://127.0.0.1/{z}", is_dark=True).colours == theme.LIGHT_MAP


def test_a_hover_card_says_everything_known_about_a_place(conditions: pd.DataFrame) -> None:
    row = conditions.set_index("location", drop=False).loc["Kemayoran"]
    air, road = maps.hover_card(row, AQI, CLOCK, T), maps.hover_card(row, TRAFFIC, CLOCK, T)
    for part in (
        "Kemayoran",
        str(row["aqi_value"]),
        row["aqi_category"],
        "PM2.5",
        "PM10 41",
        "NO2 7.4",
        "14:40 WIB",
        "Off-peak",
        "Layer: speed",
        "World Air Quality Index Project",
    ):
        assert part in air, part
    for part in (str(row["traffic_level"]), "km/h free flow", "of the speed lost", "14:40 WIB"):
        assert part in road, part


def test_a_figure_changes_with_its_data_and_not_with_the_clock_until_a_place_is_old() -> None:
    """Streamlit mounts a changed chart anew, and the reader's zoom is gone: not for a mere minute's sake."""
    serving, figures = FakeServing(), []
    for minutes in (2, 20, 200):
        serving.now = NOW + timedelta(minutes=minutes)
        conditions = serving.get_combined_heatmap_data().assign(is_peak_hour=False)
        figures.append(conditions_map(conditions, AQI, CLOCK, T, MapOptions()).to_json())
    assert figures[0] == figures[1] != figures[2]
    assert "Over 3 h old" in figures[2]


@MEASURES
def test_a_missing_value_is_grey_and_a_dash_never_a_zero(measure: Measure) -> None:
    conditions = FakeServing.without(measure.key).get_combined_heatmap_data()
    unknown = in_legend(conditions_map(conditions, measure, CLOCK, T, MapOptions()))[-1]
    assert unknown.marker.color == theme.UNKNOWN_COLOUR
    assert list(unknown.text) == ["–"] * len(conditions)
    assert "no value" in unknown.hovertext[0]


def test_places_without_coordinates_are_named_and_not_drawn() -> None:
    conditions = FakeServing.hostile().get_combined_heatmap_data()
    assert maps.without_coordinates(conditions) == ["Nowhere"]
    assert "Nowhere" not in conditions_map(conditions, AQI, CLOCK, T, MapOptions()).to_json()


def test_a_name_from_outside_is_escaped_in_the_card_and_plain_on_the_map() -> None:
    conditions = FakeServing.hostile().get_combined_heatmap_data()
    row = conditions[conditions["location"] == HOSTILE_NAME].iloc[0]
    assert "<img" not in maps.hover_card(row, AQI, CLOCK, T)
    assert "&lt;img src=x" in maps.hover_card(row, AQI, CLOCK, T)


def test_a_map_without_any_place_is_still_a_map() -> None:
    nothing = FakeServing.empty().get_combined_heatmap_data().iloc[:0]
    assert conditions_map(nothing, AQI, CLOCK, T, MapOptions()).to_json()


def test_two_places_near_each_other_get_their_names_on_different_sides() -> None:
    sides = labels.label_sides([(-6.2, 106.80), (-6.2, 106.81), (-6.4, 106.6)], ["West", "East", "Far"])
    assert sides[:2] == ["middle left", "middle right"]


def test_a_long_name_above_or_below_its_point_takes_two_lines() -> None:
    assert labels.broken("Tangerang Benteng Betawi", "bottom center") == "Tangerang<br>Benteng\u00a0Betawi"
    assert labels.broken("Tangerang Benteng Betawi", "middle left") == "Tangerang\u00a0Benteng\u00a0Betawi"
