"""City catalogues: good ones, and every kind of bad one refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lambda_pipeline.domain.catalogue import City, Location, load_city, parse_city
from lambda_pipeline.domain.peak_hours import DEFAULT_PEAK_WINDOWS, PeakWindow
from lambda_pipeline.errors import CatalogueError
from lambda_pipeline.shipped import shipped_path

PLACE: dict[str, Any] = {"name": "Krukut", "aqicn_station": "A495982", "latitude": -6.1593, "longitude": 106.818}
CITY: dict[str, Any] = {"name": "Jakarta", "timezone": "Asia/Jakarta", "locations": [PLACE]}


def city(**changes: Any) -> dict[str, Any]:
    """The good city with some keys changed, or left out where they are None."""
    return {key: value for key, value in (CITY | changes).items() if value is not None}


def place(**changes: Any) -> dict[str, Any]:
    """The good city, its only location with some keys changed, or left out where they are None."""
    return city(locations=[{key: value for key, value in (PLACE | changes).items() if value is not None}])


def test_the_shipped_catalogue_is_the_designs() -> None:
    jakarta = load_city(shipped_path("cities", "jakarta.toml"))
    assert (jakarta.name, jakarta.timezone) == ("Jakarta", "Asia/Jakarta")
    assert jakarta.peak_windows == (PeakWindow(6, 10), PeakWindow(16, 20))
    assert len(jakarta.locations) == 10
    assert jakarta.locations[0] == Location("Kebon Sirih", "A521365", -6.1861, 106.8236)
    assert jakarta.locations[-1] == Location("Kemayoran", "@8294", -6.1911, 106.8491)
    assert all(location.is_polled for location in jakarta.locations)


def test_a_city_needs_no_more_than_a_name_and_a_zone() -> None:
    assert parse_city(city(locations=None)) == City("Jakarta", "Asia/Jakarta", DEFAULT_PEAK_WINDOWS, ())


@pytest.mark.parametrize(
    ("windows", "parsed"),
    [
        ([["07:00", "09:00"]], (PeakWindow(7, 9),)),
        ([["00:00", "24:00"]], (PeakWindow(0, 24),)),
        ([["06:00", "10:00"], ["10:00", "11:00"]], (PeakWindow(6, 10), PeakWindow(10, 11))),
        ([], ()),
    ],
)
def test_peak_hours(windows: list[list[str]], parsed: tuple[PeakWindow, ...]) -> None:
    assert parse_city(city(peak_hours=windows)).peak_windows == parsed


@pytest.mark.parametrize(
    ("changes", "location"),
    [
        ({"aqicn_station": None}, Location("Krukut", None, -6.1593, 106.818)),
        ({"latitude": None, "longitude": None}, Location("Krukut", "A495982")),
        ({"latitude": 90, "longitude": -180}, Location("Krukut", "A495982", 90.0, -180.0)),
        ({"aqicn_station": "geo/1-2_3"}, Location("Krukut", "geo/1-2_3", -6.1593, 106.818)),
        ({"name": "x" * 200}, Location("x" * 200, "A495982", -6.1593, 106.818)),
        ({"name": "Çırağan 東京"}, Location("Çırağan 東京", "A495982", -6.1593, 106.818)),
    ],
)
def test_locations(changes: dict[str, Any], location: Location) -> None:
    assert parse_city(place(**changes)).locations == (location,)


def test_a_location_that_no_api_can_be_asked_about_is_not_polled() -> None:
    assert not Location("Krukut").is_polled
    assert Location("Krukut", "A495982").is_polled
    assert Location("Krukut", None, 1.0, 2.0).is_polled


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (city(name=None), "the city: name"),
        (city(name=""), "the city: name"),
        (city(name="  "), "the city: name"),
        (city(name=7), "the city: name"),
        (city(name="x" * 201), "the city: name"),
        (city(name="a\0b"), "the city: name"),
        (city(timezone=None), "the city: timezone"),
        (city(timezone="Asia/Batavia"), "'Asia/Batavia'"),
        (city(time_zone="Asia/Jakarta"), "the city: unknown key 'time_zone'"),
        (city(locations={"name": "Krukut"}), r"\[\[locations\]\]"),
        (city(locations=["Krukut"]), r"\[\[locations\]\]"),
        (city(locations=[PLACE, PLACE]), "'Krukut' is listed twice"),
        (city(locations=[PLACE, {}]), "location 2: name"),
        (place(name=None), "location 1: name"),
        (place(name=" "), "location 1: name"),
        (place(name="x" * 201), "location 1: name"),
        (place(lat=1.0), "location 'Krukut': unknown key 'lat'"),
        (place(aqicn_station=""), "location 'Krukut': aqicn_station"),
        (place(aqicn_station=521365), "location 'Krukut': aqicn_station"),
        (place(aqicn_station="A1?token=x"), r"location 'Krukut': aqicn_station 'A1\?token=x'"),
        (place(latitude=None), "location 'Krukut': only one of latitude and longitude"),
        (place(longitude=None), "location 'Krukut': only one of latitude and longitude"),
        (place(latitude=90.1), "location 'Krukut': latitude"),
        (place(latitude="-6.1"), "location 'Krukut': latitude"),
        (place(latitude=True), "location 'Krukut': latitude"),
        (place(latitude=float("nan")), "location 'Krukut': latitude"),
        (place(longitude=-180.1), "location 'Krukut': longitude"),
        (place(longitude=float("inf")), "location 'Krukut': longitude"),
        (city(peak_hours="06:00-10:00"), "peak_hours must be a list"),
        (city(peak_hours=["06:00", "10:00"]), "peak_hours: '06:00' is not a pair"),
        (city(peak_hours=[["06:00"]]), "peak_hours: .* is not a pair"),
        (city(peak_hours=[[6, 10]]), "peak_hours: .* is not a pair"),
        (city(peak_hours=[["06:30", "10:00"]]), "'06:30'.* is not on whole hours"),
        (city(peak_hours=[["6:00", "10:00"]]), "'6:00'.* is not on whole hours"),
        (city(peak_hours=[["06:00", "25:00"]]), "'25:00'.* is not on whole hours"),
        (city(peak_hours=[["10:00", "06:00"]]), "10:00 to 06:00"),
        (city(peak_hours=[["10:00", "10:00"]]), "10:00 to 10:00"),
        (city(peak_hours=[["06:00", "10:00"], ["06:00", "09:00"]]), "overlap"),
        (city(peak_hours=[["06:00", "10:00"], ["09:00", "11:00"]]), "overlap"),
    ],
)
def test_what_is_wrong_is_named(data: dict[str, Any], named: str) -> None:
    with pytest.raises(CatalogueError, match=named):
        parse_city(data)


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (lambda path: None, "there is no city catalogue"),
        (lambda path: path.write_text("name = ", encoding="utf-8"), "cannot be read"),
        (lambda path: path.write_bytes(b'name = "\xff"'), "cannot be read"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.write_text('name = "Jakarta"', encoding="utf-8"), "the city: timezone"),
    ],
    ids=["absent", "not TOML", "not UTF-8", "a folder", "incomplete"],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, write: Callable[[Path], Any], named: str) -> None:
    path = tmp_path / "city.toml"
    write(path)
    with pytest.raises(CatalogueError, match=named) as caught:
        load_city(path)
    assert str(path) in caught.value.message
