"""Maps: a HEATMAP frame in, a figure out."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from dashboard import labels, maps, theme
from dashboard.hover_cards import CardWriter
from dashboard.map_ground import MapOptions
from dashboard.maps import conditions_map, hour_map
from dashboard.measures import AQI, TRAFFIC, Measure
from dashboard.texts import Texts
from dashboard.units import KM_H, MPH
from lambda_pipeline.domain.air_quality import AQI_BANDS
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.traffic import TRAFFIC_LEVELS
from lambda_pipeline_tests.dashboard.fake_serving import HOSTILE_NAME, NOW, PLACES, FakeServing

T = Texts()
CLOCK = CityClock("Asia/Jakarta")
CARDS = {measure: CardWriter(measure, CLOCK, T, KM_H) for measure in (TRAFFIC, AQI)}
HOUR_START = datetime(2026, 3, 12, 1, tzinfo=UTC)  # 08:00 in Jakarta
MEASURES = pytest.mark.parametrize("measure", [TRAFFIC, AQI], ids=lambda measure: measure.key)


@pytest.fixture(scope="module")
def conditions() -> pd.DataFrame:
    return FakeServing().get_combined_heatmap_data()


def in_legend(figure: object) -> list[object]:
    return [trace for trace in figure.data if trace.type == "scattermap" and trace.showlegend]  # type: ignore[attr-defined]


def test_the_legend_has_every_traffic_level_and_every_epa_category_in_their_colours(conditions: pd.DataFrame) -> None:
    traffic = in_legend(conditions_map(conditions, CARDS[TRAFFIC], MapOptions()))
    assert [trace.name.split()[0] for trace in traffic] == [str(level.level) for level in TRAFFIC_LEVELS]
    assert [trace.marker.color for trace in traffic] == list(theme.TRAFFIC_COLOURS.values())
    aqi = in_legend(conditions_map(conditions, CARDS[AQI], MapOptions()))
    assert [trace.marker.color for trace in aqi] == [band.colour for band in AQI_BANDS]


@MEASURES
def test_every_place_has_its_number_on_its_point_and_its_name_beside_it(
    conditions: pd.DataFrame, measure: Measure
) -> None:
    figure = conditions_map(conditions, CARDS[measure], MapOptions())
    numbers = [text for trace in in_legend(figure) for text in trace.text]
    assert sorted(numbers) == sorted(str(value) for value in conditions[measure.current])
    names = [text for trace in figure.data if trace.name == "names" for text in trace.text]
    assert sorted(name.replace("<br>", " ").replace("\u00a0", " ") for name in names) == sorted(PLACES)


@MEASURES
def test_a_glow_has_the_colour_of_its_band_alone(conditions: pd.DataFrame, measure: Measure) -> None:
    figure = conditions_map(conditions, CARDS[measure], MapOptions())
    glows = [trace for trace in figure.data if trace.type == "densitymap"]
    assert sum(len(trace.lat) for trace in glows) == len(conditions)
    colours = {band.label: band.colour for band in measure.bands(T)}
    for glow in glows:
        assert glow.colorscale[-1][1] == theme.with_alpha(colours[glow.name], 0.6)


def test_without_tiles_nothing_on_the_map_has_an_address(conditions: pd.DataFrame) -> None:
    figure = conditions_map(conditions, CARDS[AQI], MapOptions())
    assert not figure.layout.map.layers
    assert "http" not in str(figure.layout.map.style)
    assert "glyphs" not in figure.layout.map.style  # letters are drawn by the browser, not fetched
    assert figure.layout.map.style["sources"]  # Plotly drops an empty one, and the style is then invalid


def test_tiles_lie_below_the_traces_with_their_attribution_as_text(conditions: pd.DataFrame) -> None:
    options = MapOptions("http://127.0.0.1/{z}/{x}/{y}.png", "<b>© someone</b>")
    (layer,) = conditions_map(conditions, CARDS[AQI], options).layout.map.layers
    assert (layer.below, layer.sourcetype, layer.source) == ("traces", "raster", (options.tile_url,))
    assert layer.sourceattribution == "&lt;b&gt;© someone&lt;/b&gt;"


def test_centre_and_zoom_are_left_to_the_browser_which_knows_its_width(conditions: pd.DataFrame) -> None:
    layout = conditions_map(conditions, CARDS[AQI], MapOptions()).layout
    assert layout.map.center.to_plotly_json() == {}
    assert layout.map.zoom is None


def test_the_ground_follows_the_theme_unless_tiles_lie_on_it() -> None:
    assert MapOptions(is_dark=True).colours == theme.DARK_MAP
    assert MapOptions(is_dark=False).colours == theme.LIGHT_MAP
    assert MapOptions("http://127.0.0.1/{z}", is_dark=True).colours == theme.LIGHT_MAP


def test_a_hover_card_says_everything_known_about_a_place(conditions: pd.DataFrame) -> None:
    row = conditions.set_index("location", drop=False).loc["Kemayoran"]
    air, road = CARDS[AQI].whole(row), CARDS[TRAFFIC].whole(row)
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
    """A browser need not draw what did not change."""
    serving, figures = FakeServing(), []
    for minutes in (2, 20, 200):
        serving.now = NOW + timedelta(minutes=minutes)
        conditions = serving.get_combined_heatmap_data().assign(is_peak_hour=False)
        figures.append(conditions_map(conditions, CARDS[AQI], MapOptions()).to_json())
    assert figures[0] == figures[1] != figures[2]
    assert "Over 3 h old" in figures[2]


@MEASURES
def test_a_missing_value_is_grey_and_a_dash_never_a_zero(measure: Measure) -> None:
    conditions = FakeServing.without(measure.key).get_combined_heatmap_data()
    unknown = in_legend(conditions_map(conditions, CARDS[measure], MapOptions()))[-1]
    assert unknown.marker.color == theme.UNKNOWN_COLOUR
    assert list(unknown.text) == ["–"] * len(conditions)
    assert "no value" in unknown.customdata[0][0]


@pytest.mark.parametrize(("places", "levels"), [(0, 0), (10, 0), (348, 0), (1_000, 0.76), (10_000, 2.42)])
def test_the_numbers_of_very_many_places_are_drawn_where_they_have_room(places: int, levels: float) -> None:
    assert maps.numbers_from(pd.DataFrame(index=range(places))) == levels


def test_places_without_coordinates_are_named_and_not_drawn() -> None:
    conditions = FakeServing.hostile().get_combined_heatmap_data()
    assert maps.without_coordinates(conditions) == ["Nowhere"]
    assert "Nowhere" not in conditions_map(conditions, CARDS[AQI], MapOptions()).to_json()


def test_a_name_from_outside_is_escaped_in_the_card_and_plain_on_the_map() -> None:
    conditions = FakeServing.hostile().get_combined_heatmap_data()
    row = conditions[conditions["location"] == HOSTILE_NAME].iloc[0]
    assert "<img" not in CARDS[AQI].whole(row)
    assert "&lt;img src=x" in CARDS[AQI].whole(row)


@MEASURES
def test_an_hour_of_the_past_shows_its_averages_and_how_many_observations_they_rest_on(measure: Measure) -> None:
    hour = FakeServing().get_hour(HOUR_START)
    figure = hour_map(hour, "An hour", CARDS[measure], MapOptions())
    numbers = [text for trace in in_legend(figure) if trace.text is not None for text in trace.text]
    assert sorted(numbers) == sorted(T.number(value, min(measure.decimals, 1)) for value in hour[measure.mean])
    assert figure.layout.title.text == "An hour"
    counts = [row[2] for trace in in_legend(figure) if trace.customdata is not None for row in trace.customdata]
    assert sorted(counts) == sorted(str(count) for count in hour[measure.count])
    assert "%{customdata[2]} observations" in in_legend(figure)[0].hovertemplate


def test_speeds_are_written_in_the_chosen_unit_and_numbers_in_the_language() -> None:
    conditions = FakeServing().get_combined_heatmap_data()
    conditions["current_speed"], conditions["free_flow_speed"] = 40.0, 80.0
    written = CardWriter(TRAFFIC, CLOCK, Texts("id"), MPH)
    assert "25 dari 50 mil/jam arus bebas" in written.whole(conditions.iloc[0])
    hour = FakeServing().get_hour(HOUR_START)
    figure = hour_map(hour, "", written, MapOptions())
    assert any("," in text for trace in in_legend(figure) if trace.text is not None for text in trace.text)
    assert figure.layout.separators == ",."


def many_places(count: int) -> pd.DataFrame:
    """HEATMAP of a big city, one of its places with a hostile name, another never observed."""
    few = FakeServing().get_combined_heatmap_data()
    many = few.loc[[number % len(few) for number in range(count)]].reset_index(drop=True)
    many["location"] = [f"Location {number}" for number in range(count)]
    many["latitude"] += [number / 1e5 for number in range(count)]
    many.loc[0, "location"] = HOSTILE_NAME
    for column in ("aqi_value", "traffic_level", "current_speed", "aqi_observed_at", "traffic_observed_at", "layer"):
        many.loc[1, column] = None
    return many


@MEASURES
def test_ten_thousand_places_are_one_small_figure(measure: Measure) -> None:
    figure = conditions_map(many_places(10_000), CARDS[measure], MapOptions())
    text = figure.to_json()
    assert len(text) < 1_600_000
    assert "<img" not in text.replace("\\u003c", "<")
    assert sum(len(trace.text) for trace in in_legend(figure)) == 10_000
    assert not [trace for trace in figure.data if trace.name in ("names", "rims")]
    assert {trace.marker.size for trace in in_legend(figure)} == {maps.SMALL_MARKER}


@MEASURES
def test_the_short_cards_of_many_places_say_the_same_as_the_whole_ones(measure: Measure) -> None:
    conditions = many_places(1000)
    figure = conditions_map(conditions, CARDS[measure], MapOptions())
    cards = {}
    for trace in in_legend(figure):
        for fields in trace.customdata if trace.customdata is not None else ():
            card = trace.hovertemplate
            for number, field in enumerate(fields):
                card = card.replace(f"%{{customdata[{number}]}}", field)
            cards[fields[0]] = card
    assert len(cards) == 1000
    row = conditions.iloc[5]
    card = cards["Location 5"]
    other = row["aqi_value"] if measure is TRAFFIC else row["traffic_level"]
    for part in (f"<b>{row[measure.current]} · ", f": {other}<br>", "14:40 WIB", "Off-peak", "Layer: speed"):
        assert part in card, part
    assert ("km/h free flow" if measure is TRAFFIC else "PM2.5") in card
    assert "Unknown" in cards["Location 1"]


def test_a_band_that_no_place_is_in_keeps_its_legend_entry(conditions: pd.DataFrame) -> None:
    good = conditions.assign(aqi_value=pd.array([20] * len(conditions), dtype="Int64"))
    assert len(in_legend(conditions_map(good, CARDS[AQI], MapOptions()))) == len(AQI_BANDS)


def test_a_map_without_any_place_is_still_a_map() -> None:
    nothing = FakeServing.empty().get_combined_heatmap_data().iloc[:0]
    assert conditions_map(nothing, CARDS[AQI], MapOptions()).to_json()


def test_two_places_near_each_other_get_their_names_on_different_sides() -> None:
    sides = labels.label_sides([(-6.2, 106.80), (-6.2, 106.81), (-6.4, 106.6)], ["West", "East", "Far"])
    assert sides[:2] == ["middle left", "middle right"]


def test_a_long_name_above_or_below_its_point_takes_two_lines() -> None:
    assert labels.broken("Tangerang Benteng Betawi", "bottom center") == "Tangerang<br>Benteng\u00a0Betawi"
    assert labels.broken("Tangerang Benteng Betawi", "middle left") == "Tangerang\u00a0Benteng\u00a0Betawi"
