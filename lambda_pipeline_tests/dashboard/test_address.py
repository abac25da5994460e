"""The address: whatever stands in it opens a page, and what a page writes is read back as it was."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import address
from dashboard.address import Offer, RawView, Selection
from dashboard.texts import LANGUAGES
from dashboard.units import UNITS
from lambda_pipeline.serving.raw_choice import Half, RawFilter, RawSort

TABS = ("heatmaps", "peaks", "statistics", "raw")
NAMES = ("Krukut", "GBK, Gelora", "a&b=c#d?", "Ünïcøde 東京", "")
TODAY = date(2026, 3, 12)
OFFER = Offer(TABS, NAMES, date(2025, 1, 1), TODAY, "en")
PARAMETERS = (
    "tab", "lang", "units", "location", "from", "to", "layer", "category", "level", "missing", "peak", "sort", "order",
    "rows", "page",
)  # fmt: skip

usable = ["raw", "id", "mph", "Krukut", "2026-03-01", "2026-03-12", "speed", "Good", "4", "aqi", "yes", "asc", "500"]
hostile = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [*usable, "x" * 10_000, "٣", "1e9", "-1", "0", "9" * 5000, "2026-02-30", "2026-W10-1", "\x00", "None"]
    ),
    st.integers().map(str),
    st.dates().map(str),
)
params = st.dictionaries(st.one_of(st.sampled_from(PARAMETERS), st.text(max_size=10)), st.lists(hostile, max_size=4))


def some(values: tuple[str, ...] | tuple[int, ...]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(st.sampled_from(values), unique=True).map(tuple)


days = st.tuples(st.dates(OFFER.first_day, OFFER.last_day), st.dates(OFFER.first_day, OFFER.last_day))
selections = st.builds(
    Selection,
    tab=st.sampled_from(TABS),
    language=st.sampled_from(list(LANGUAGES)),
    units=st.sampled_from(list(UNITS)),
    locations=some(NAMES),
    days=st.none() | days.map(lambda pair: (min(pair), max(pair))),
    raw=st.builds(
        RawView,
        where=st.builds(
            RawFilter,
            layers=some(address.LAYERS),
            aqi_categories=some(address.CATEGORIES),
            traffic_levels=some(address.LEVELS),
            missing=st.none() | st.sampled_from(Half),
            is_peak_hour=st.none() | st.booleans(),
        ),
        sort=st.sampled_from(RawSort),
        descending=st.booleans(),
        page_size=st.sampled_from(address.PAGE_SIZES),
        page=st.integers(1, 1000),
    ),
)


@given(params)
def test_whatever_stands_there_gives_a_selection_that_can_be_shown(anything: dict[str, list[str]]) -> None:
    selection, unusable = address.read(anything, OFFER)
    assert selection.tab in TABS
    assert selection.language in LANGUAGES
    assert selection.units in UNITS
    assert set(selection.locations) <= set(NAMES)
    choice = selection.choice(OFFER)
    assert OFFER.first_day <= choice.start < choice.end <= OFFER.last_day + timedelta(days=1)
    assert set(unusable) <= set(PARAMETERS)
    again, complaints = address.read(address.write(selection, OFFER), OFFER)
    assert (again, complaints) == (selection, ())


@given(selections)
def test_what_is_written_is_read_back(selection: Selection) -> None:
    assert address.read(address.write(selection, OFFER), OFFER) == (selection, ())


def test_defaults_need_no_address() -> None:
    selection, unusable = address.read({}, OFFER)
    assert (address.write(selection, OFFER), unusable) == ({}, ())
    assert selection.choice(OFFER).start == TODAY - timedelta(days=6)


@pytest.mark.parametrize(
    ("first", "last", "is_usable"),
    [
        ("2026-03-01", "2026-03-02", True),
        ("2026-03-02", "2026-03-01", False),
        ("2024-12-31", "2025-01-02", False),
        ("2026-03-01", "2026-03-14", False),
        ("tomorrow", "2026-03-02", True),  # the end that can be read stands for both
    ],
)
def test_days_outside_the_history_are_left_out(first: str, last: str, is_usable: bool) -> None:
    selection, _ = address.read({"from": [first], "to": [last]}, OFFER)
    assert (selection.days is not None) == is_usable


def test_the_name_of_what_was_left_out_is_ours_and_never_what_stood_there() -> None:
    asked = {"location": ["<script>alert(1)</script>", "Krukut"], "page": ["0"], "utm_source": ["x"]}
    selection, unusable = address.read(asked, OFFER)
    assert selection.locations == ("Krukut",)
    assert unusable == ("location", "page")


def test_more_locations_than_an_address_has_room_for_are_not_written() -> None:
    names = tuple(f"Place {number}" for number in range(address.LOCATIONS_WRITTEN + 1))
    offer = Offer(TABS, names, OFFER.first_day, TODAY, "en")
    assert "location" not in address.write(Selection("heatmaps", "en", locations=names), offer)
    assert len(address.write(Selection("heatmaps", "en", locations=names[:-1]), offer)["location"]) == len(names) - 1


def test_a_history_that_begins_today_has_one_day() -> None:
    assert Offer(TABS, (), TODAY, TODAY, "en").default_days == (TODAY, TODAY)
