"""The Raw Data tab: filtered, sorted and paged by the serving layer, and downloaded as it is filtered."""

import io
from datetime import date

import pandas as pd
import pytest

from dashboard.downloads import Downloads
from dashboard.reading import Choice
from lambda_pipeline.serving.choices import Format
from lambda_pipeline.serving.raw_choice import Half, RawFilter
from lambda_pipeline_tests.dashboard.fake_export import export_raw
from lambda_pipeline_tests.dashboard.fake_serving import FakeServing
from lambda_pipeline_tests.dashboard.opened_page import opened, panel, refreshed, words

DAYS = (date(2026, 3, 6), date(2026, 3, 13))


def test_the_table_is_a_page_newest_first_with_the_layer_of_each_row() -> None:
    app = opened(FakeServing(), tab="raw")
    rows = panel(app).dataframe[0].value
    assert len(rows) == 100
    assert set(rows["layer"]) <= {"speed", "batch"}
    assert rows["timestamp"].iloc[0] == "2026-03-12 14:40:00"
    assert "Rows 1 to 100 of" in words(panel(app))


def test_more_rows_and_another_page_are_asked_of_the_database() -> None:
    app = opened(FakeServing(), tab="raw")
    panel(app).get_by_key("raw-size-en").set_value(500).run()
    assert len(panel(app).dataframe[0].value) == 500
    panel(app).pagination[0].set_value(2).run()
    assert "Rows 501 to 1,000 of" in words(panel(app))
    assert app.query_params["page"] == "2"
    panel(app).get_by_key("raw-layers-en").set_value(["speed"]).run()
    assert "Rows 1 to" in words(panel(app))
    assert "page" not in app.query_params


def test_rows_are_sorted_by_the_database() -> None:
    serving = FakeServing()
    app = opened(serving, tab="raw", sort="aqi_value", order="asc")
    table = panel(app).dataframe[0].value
    whole = serving.get_raw_data(*DAYS, limit=None)
    assert int(table["aqi_value"].iloc[0]) == whole["aqi_value"].min()
    assert [int(value) for value in table["aqi_value"]] == sorted(int(value) for value in table["aqi_value"])


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ({"layer": "speed"}, RawFilter(layers=("speed",))),
        ({"category": ["Moderate", "Unhealthy"]}, RawFilter(aqi_categories=("Moderate", "Unhealthy"))),
        ({"level": ["4", "5"]}, RawFilter(traffic_levels=(4, 5))),
        ({"missing": "traffic"}, RawFilter(missing=Half.TRAFFIC)),
        ({"peak": "yes", "missing": "aqi"}, RawFilter(missing=Half.AQI, is_peak_hour=True)),
    ],
)
def test_every_filter_is_the_databases(address: dict[str, str | list[str]], where: RawFilter) -> None:
    serving = FakeServing()
    app = opened(serving, tab="raw", **address)
    assert not app.exception
    matching = serving.count_raw_data(*DAYS, where=where)
    assert f"of {matching:,}." in words(panel(app))


def test_a_missing_half_is_marked_in_words() -> None:
    table = panel(opened(FakeServing(), tab="raw", missing="aqi")).dataframe[0].value
    assert set(table["halves"]) == {"AQI missing"}
    assert table["aqi_value"].isna().all()
    assert table["traffic_level"].notna().all()


def test_filters_that_nothing_fits_can_be_reset() -> None:
    app = opened(FakeServing.without("traffic"), tab="raw", level="5")
    assert "No observation fits these filters" in words(panel(app))
    next(button for button in panel(app).button if button.label == "Reset the filters").click().run()
    assert len(panel(app).dataframe[0].value) == 100


def test_filters_outlive_a_look_at_another_tab() -> None:
    serving = FakeServing()
    app = opened(serving, tab="raw", layer="speed", sort="location")
    for label in ("Heatmaps", "Raw Data"):
        app.session_state["tabs-en"] = label
        refreshed(app, serving)
    assert panel(app).get_by_key("raw-layers-en").value == ["speed"]
    assert app.query_params["layer"] == "speed"
    assert app.query_params["sort"] == "location"


def test_a_page_that_there_is_not_is_the_last_one() -> None:
    serving = FakeServing()
    app = opened(serving, tab="raw", page="999")
    matching = serving.count_raw_data(*DAYS)
    assert f"to {matching:,} of {matching:,}" in words(panel(app))


def test_more_than_can_be_counted_is_called_more(monkeypatch: pytest.MonkeyPatch) -> None:
    serving = FakeServing()
    monkeypatch.setattr(serving, "count_raw_data", lambda *_, at_most, **__: at_most + 1)
    app = opened(serving, tab="raw")
    assert "of more than 100,000" in words(panel(app))
    app.session_state["raw-download"] = True
    refreshed(app, serving)
    assert "lambda-pipeline export raw" in words(app)
    assert not panel(app).download_button


def test_speeds_are_in_the_chosen_unit_on_the_screen() -> None:
    serving = FakeServing()
    slow, fast = (panel(opened(serving, tab="raw", units=unit)).dataframe[0].value for unit in ("mph", "kmh"))
    assert float(slow["current_speed"].iloc[0]) == pytest.approx(float(fast["current_speed"].iloc[0]) / 1.609, abs=0.1)


def test_numbers_are_written_as_the_language_writes_them() -> None:
    table = panel(opened(FakeServing(), tab="raw", lang="id")).dataframe[0].value
    assert "," in table["current_speed"].dropna().iloc[0]
    assert set(table["layer"]) <= {"speed", "batch"}


def test_dead_letters_are_listed_with_position_and_reason() -> None:
    app = opened(FakeServing(), tab="raw")
    letters = panel(app).dataframe[1].value
    assert list(letters["Position"]) == [
        "traffic-aqi-data[0]@1003",
        "traffic-aqi-data[2]@1002",
        "traffic-aqi-data[1]@1001",
    ]
    assert letters["Reason"].str.contains("expected an integer").all()
    assert "3 messages could not be read" in [expander.label for expander in panel(app).expander]


@pytest.mark.parametrize("form", [Format.CSV, Format.PARQUET])
def test_a_download_is_exactly_the_filtered_rows(form: Format) -> None:
    serving = FakeServing()
    where = RawFilter(missing=Half.AQI, is_peak_hour=True)
    choice = Choice(*DAYS, ("Krukut", "Gunung"))
    written = io.BytesIO(Downloads(serving, export_raw).raw(choice, where, form))
    rows = pd.read_csv(written) if form is Format.CSV else pd.read_parquet(written)
    expected = serving.get_raw_data(*DAYS, choice.wanted, None, where=where, descending=False)
    assert list(rows["location"]) == list(expected["location"])
    assert list(pd.to_datetime(rows["timestamp"], utc=True)) == list(expected["timestamp"])


def test_both_downloads_are_offered_once_the_box_is_open() -> None:
    serving = FakeServing()
    app = opened(serving, tab="raw")
    assert not panel(app).download_button
    app.session_state["raw-download"] = True
    refreshed(app, serving)
    assert [button.label for button in panel(app).download_button] == ["As CSV", "As Parquet"]


def test_another_language_keeps_what_is_chosen_in_words() -> None:
    address: dict[str, str | list[str]] = {
        "tab": "raw", "missing": "traffic", "peak": "no", "order": "asc", "sort": "location", "units": "mph",
        "category": ["Moderate"], "level": ["2"], "layer": ["batch"],
    }  # fmt: skip
    app = opened(FakeServing(), **address)
    before = dict(app.query_params)
    for language in ("id", "en", "id"):
        app.sidebar.selectbox[0].set_value(language).run()
        assert not app.exception
        written = dict(app.query_params)
        assert written.pop("lang", "en") == language
        assert written == before


def test_the_order_stays_when_its_words_change_with_the_column_or_the_unit() -> None:
    app = opened(FakeServing(), tab="raw", order="asc")
    for sort in ("location", "current_speed"):
        next(box for box in panel(app).selectbox if box.label == "Sort by").set_value(sort).run()
        assert app.query_params["order"] == "asc"
    app.sidebar.selectbox[1].set_value("mph").run()
    assert (app.query_params["sort"], app.query_params["order"]) == ("current_speed", "asc")
    assert not app.exception
