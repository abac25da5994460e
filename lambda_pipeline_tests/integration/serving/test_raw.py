"""Single observations: narrowed down, sorted, counted, paged and exported, against pandas over all of them."""

import io
import itertools
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.errors import TooMuchError
from lambda_pipeline.serving import frames
from lambda_pipeline.serving.choices import Format, What
from lambda_pipeline.serving.export import export, export_raw
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline.serving.raw_choice import EVERYTHING, Half, RawFilter, RawSort
from lambda_pipeline_tests.integration.serving import data
from lambda_pipeline_tests.integration.serving.data import Log, message
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

PLACES = ("Cinere", "Gunung", "Kemayoran", "Krukut")
FIRST, UNTIL = date(2025, 3, 3), date(2025, 3, 5)
START = datetime(2025, 3, 2, 17, tzinfo=UTC)  # Monday 00:00 in Jakarta
SOME = ["Gunung", "Krukut"]

FILTERS: dict[str, tuple[RawFilter, Callable[[pd.DataFrame], "pd.Series[bool]"]]] = {
    "everything": (EVERYTHING, lambda rows: rows["layer"].notna()),
    "speed": (RawFilter(layers=("speed",)), lambda rows: rows["layer"] == "speed"),
    "batch": (RawFilter(layers=("batch",)), lambda rows: rows["layer"] == "batch"),
    "both layers": (RawFilter(layers=("batch", "speed")), lambda rows: rows["layer"].notna()),
    "a layer that is not": (RawFilter(layers=("nonsense",)), lambda rows: rows["layer"].isna()),
    "categories": (
        RawFilter(aqi_categories=("Good", "Unknown")),
        lambda rows: rows["aqi_category"].isin(["Good", "Unknown"]),
    ),
    "levels": (RawFilter(traffic_levels=(1, 5)), lambda rows: rows["traffic_level"].isin([1, 5])),
    "no air": (RawFilter(missing=Half.AQI), lambda rows: rows["aqi_value"].isna()),
    "no traffic": (
        RawFilter(missing=Half.TRAFFIC),
        lambda rows: rows["traffic_level"].isna() & rows["current_speed"].isna(),
    ),
    "peak": (RawFilter(is_peak_hour=True), lambda rows: rows["is_peak_hour"]),
    "off peak": (RawFilter(is_peak_hour=False), lambda rows: ~rows["is_peak_hour"]),
    "all at once": (
        RawFilter(("batch",), ("Hazardous", "Unhealthy"), (2, 3), None, True),
        lambda rows: (
            (rows["layer"] == "batch")
            & rows["aqi_category"].isin(["Hazardous", "Unhealthy"])
            & rows["traffic_level"].isin([2, 3])
            & rows["is_peak_hour"]
        ),
    ),
    "hostile": (RawFilter(aqi_categories=("Good'; delete from raw_data; --",)), lambda rows: rows["layer"].isna()),
}
filters = pytest.mark.parametrize("chosen", FILTERS)


@pytest.fixture
def serving(database: Database) -> ServingLayer:
    return ServingLayer(database.reader)


@pytest.fixture
def filled(database: Database, serving: ServingLayer) -> pd.DataFrame:
    """Two days of which both layers hold something; all of it as it is served, newest first."""
    log = Log(database)
    messages = data.some_days(START, 2, PLACES)
    late, punctual = messages[5::50], [m for number, m in enumerate(messages) if number % 50 != 5]
    log.append(*punctual)
    log.consume(len(punctual) * 2 // 3)
    log.store(len(punctual) * 3 // 5)
    log.publish()
    log.append(*late, *(message(place, START + timedelta(minutes=1), speeds=(20.0, 0.0)) for place in PLACES))
    log.consume()
    return serving.get_raw_data(FIRST, UNTIL, limit=None)


def matching(filled: pd.DataFrame, chosen: str, places: list[str] | None = None) -> pd.DataFrame:
    """The rows of a filter, at some places or all, in the order that they have."""
    rows = filled[FILTERS[chosen][1](filled)]
    return (rows if places is None else rows[rows["location"].isin(places)]).reset_index(drop=True)


@filters
def test_only_what_matches_is_read_and_counted(serving: ServingLayer, filled: pd.DataFrame, chosen: str) -> None:
    where = FILTERS[chosen][0]
    for places in (None, SOME):
        expected = matching(filled, chosen, places)
        found = serving.get_raw_data(FIRST, UNTIL, places, None, where=where)
        pd.testing.assert_frame_equal(found, expected)
        assert serving.count_raw_data(FIRST, UNTIL, places, where=where) == len(expected)
        page = serving.get_raw_data(FIRST, UNTIL, places, 40, 20, where=where)
        pd.testing.assert_frame_equal(page, expected.iloc[20:60].reset_index(drop=True))


def test_the_filters_of_this_test_find_something_and_leave_something_out(filled: pd.DataFrame) -> None:
    found = {chosen: len(matching(filled, chosen)) for chosen in FILTERS}
    nothing = {"a layer that is not", "hostile"}
    assert {chosen for chosen, rows in found.items() if rows == 0} == nothing
    assert {chosen for chosen, rows in found.items() if rows == len(filled)} == {"everything", "both layers"}


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort", RawSort)
def test_pages_are_sorted_by_the_chosen_column_then_newest_first_and_missing_values_are_last(
    serving: ServingLayer, filled: pd.DataFrame, sort: RawSort, descending: bool
) -> None:
    ways = {"timestamp": False, "location": True} | {sort.value: not descending}
    columns = [sort.value, *(name for name in ("timestamp", "location") if name != sort)]
    ordered = filled.sort_values(columns, ascending=[ways[name] for name in columns], na_position="last")
    pages = [
        serving.get_raw_data(FIRST, UNTIL, None, 300, at, sort=sort, descending=descending)
        for at in range(0, len(filled), 300)
    ]
    pd.testing.assert_frame_equal(pd.concat(pages, ignore_index=True), ordered.reset_index(drop=True))


def test_a_count_stops_where_it_is_told_to(serving: ServingLayer, filled: pd.DataFrame) -> None:
    for chosen in ("everything", "speed", "batch", "peak"):
        where, rows = FILTERS[chosen][0], len(matching(filled, chosen))
        for at_most in (0, 1, rows - 1, rows, rows + 1):
            found = serving.count_raw_data(FIRST, UNTIL, where=where, at_most=at_most)
            assert found == min(rows, at_most + 1)


def test_counts_from_the_hours_are_those_of_the_rows_whatever_each_layer_holds(
    database: Database, serving: ServingLayer
) -> None:
    dice, log = random.Random(5), Log(database)
    for day in range(3):
        log.append(*data.some_days(START + timedelta(days=day), 1, PLACES, day))
        log.consume(dice.randint(log.consumed, len(log.records)))
        log.store(dice.randint(log.stored, len(log.records)))
        if day != 1:
            log.publish()
        for places, where in itertools.product((None, SOME), ("everything", "speed", "batch")):
            narrowed = FILTERS[where][0]
            rows = serving.get_raw_data(FIRST, UNTIL, places, None, where=narrowed)
            assert serving.count_raw_data(FIRST, UNTIL, places, where=narrowed) == len(rows)


@filters
def test_an_export_is_exactly_the_rows_that_match_oldest_first(
    serving: ServingLayer, filled: pd.DataFrame, chosen: str
) -> None:
    expected = matching(filled, chosen, SOME).sort_values(["timestamp", "location"], ignore_index=True)
    out = io.BytesIO()
    with serving.snapshot() as view:
        rows = export_raw(view, FIRST, UNTIL, SOME, FILTERS[chosen][0], Format.PARQUET, out, at_most=len(expected))
    assert rows == len(expected)
    found = pd.read_parquet(io.BytesIO(out.getvalue()))
    assert list(found.columns) == list(frames.RAW)
    found["timestamp"] = found["timestamp"].dt.tz_convert("UTC")
    pd.testing.assert_frame_equal(found.astype(dict(frames.RAW)), expected)


def test_an_export_of_everything_is_what_the_command_line_writes(
    serving: ServingLayer, filled: pd.DataFrame, jakarta: City
) -> None:
    clock = jakarta.clock()
    for form in (Format.CSV, Format.PARQUET):
        ours, theirs = io.BytesIO(), io.BytesIO()
        with serving.snapshot() as view:
            rows = export_raw(view, FIRST, UNTIL, None, EVERYTHING, form, ours, at_most=100_000)
        assert rows == len(filled)
        assert rows == export(serving, What.RAW, clock.day_start(FIRST), clock.day_start(UNTIL), form, theirs)
        assert ours.getvalue() == theirs.getvalue()
    assert b"2025-03-03T00:00:00+07:00" in io.BytesIO(_csv(serving)).getvalue().splitlines()[1]


def _csv(serving: ServingLayer) -> bytes:
    out = io.BytesIO()
    with serving.snapshot() as view:
        export_raw(view, FIRST, UNTIL, None, EVERYTHING, Format.CSV, out, at_most=100_000)
    return out.getvalue()


@pytest.mark.parametrize("form", [Format.CSV, Format.PARQUET])
def test_an_export_of_nothing_has_the_columns(serving: ServingLayer, form: Format) -> None:
    out = io.BytesIO()
    with serving.snapshot() as view:
        assert export_raw(view, FIRST, UNTIL, None, EVERYTHING, form, out, at_most=10) == 0
    out.seek(0)
    found = pd.read_csv(out) if form is Format.CSV else pd.read_parquet(out)
    assert list(found.columns) == list(frames.RAW)


def test_too_large_an_export_writes_nothing_and_says_how_to_get_it(serving: ServingLayer, filled: pd.DataFrame) -> None:
    out = io.BytesIO()
    with serving.snapshot() as view, pytest.raises(TooMuchError, match="lambda-pipeline export raw"):
        export_raw(view, FIRST, UNTIL, None, EVERYTHING, Format.CSV, out, at_most=len(filled) - 1)
    assert out.getvalue() == b""


# ---------------------------------------------------------------- dead letters


def test_dead_letters_are_newest_first_with_their_position_and_pages_meet(
    database: Database, serving: ServingLayer
) -> None:
    log = Log(database)
    for minute in (3, 1, 2, 5, 4):
        log.reject(b'{"aqi": "much"}', b"Cinere", START + timedelta(minutes=minute))
    found = serving.get_dead_letters()
    assert found["appended_at"].tolist() == [START + timedelta(minutes=minute) for minute in (5, 4, 3, 2, 1)]
    assert found["position"].tolist() == [f"observations[0]@{1_000_000 + number}" for number in (4, 5, 1, 3, 2)]
    assert set(found["payload"]) == {'{"aqi": "much"}'}
    assert set(found["payload_bytes"]) == {15}
    assert set(found["key"]) == {"Cinere"}
    assert set(found["error"]) == {"not an observation"}
    pages = [serving.get_dead_letters(2, at) for at in (0, 2, 4)]
    pd.testing.assert_frame_equal(pd.concat(pages, ignore_index=True), found)


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (None, None),
        (b"", ""),
        (b"\xff\xfe{", "\ufffd\ufffd{"),
        (b"a\0b", "a\0b"),
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
        (b"x" * 5_000, "x" * 2_000),
        (b"x" + "é".encode() * 1_500, "x" + "é" * 999),  # the cut goes through a character
    ],
    ids=["none", "empty", "not UTF-8", "zero byte", "markup", "long", "cut"],
)
def test_payloads_are_shown_as_text_whatever_they_are(
    database: Database, serving: ServingLayer, payload: bytes | None, shown: str | None
) -> None:
    Log(database).reject(payload, payload)
    row = serving.get_dead_letters().iloc[0]
    for column in ("payload", "key"):
        assert row[column] == shown if shown is not None else pd.isna(row[column])
    assert row["payload_bytes"] == len(payload) if payload is not None else pd.isna(row["payload_bytes"])
