"""City time: hours keyed by the instant they start at, days, and clocks that change."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.peak_hours import DEFAULT_PEAK_WINDOWS
from lambda_pipeline.errors import CatalogueError

ZONES = ["Asia/Jakarta", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "America/Los_Angeles", "Africa/Cairo"]
INSTANTS = st.datetimes(datetime(2012, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "instant", "hour_start", "city_date", "hour"),
    [
        ("Asia/Jakarta", "2025-06-01T16:59:59.999999", "2025-06-01T16:00", "2025-06-01", 23),
        ("Asia/Jakarta", "2025-06-01T17:00", "2025-06-01T17:00", "2025-06-02", 0),
        ("Asia/Jakarta", "2025-06-01T23:00", "2025-06-01T23:00", "2025-06-02", 6),
        ("Asia/Kolkata", "2025-06-01T18:29", "2025-06-01T17:30", "2025-06-01", 23),
        ("Asia/Kolkata", "2025-06-01T18:30", "2025-06-01T18:30", "2025-06-02", 0),
        ("Asia/Kolkata", "2025-06-01T19:15", "2025-06-01T18:30", "2025-06-02", 0),
        ("Asia/Kathmandu", "2025-06-01T18:14", "2025-06-01T17:15", "2025-06-01", 23),
        ("Asia/Kathmandu", "2025-06-01T18:15", "2025-06-01T18:15", "2025-06-02", 0),
        # clocks go forward at 02:00 on 2025-03-09: there is no hour 2
        ("America/New_York", "2025-03-09T06:59", "2025-03-09T06:00", "2025-03-09", 1),
        ("America/New_York", "2025-03-09T07:00", "2025-03-09T07:00", "2025-03-09", 3),
        # clocks go back at 02:00 on 2025-11-02: the hour 1 comes twice and has two starts
        ("America/New_York", "2025-11-02T05:30", "2025-11-02T05:00", "2025-11-02", 1),
        ("America/New_York", "2025-11-02T06:30", "2025-11-02T06:00", "2025-11-02", 1),
        ("America/New_York", "2025-11-02T07:00", "2025-11-02T07:00", "2025-11-02", 2),
    ],
)
def test_place(zone: str, instant: str, hour_start: str, city_date: str, hour: int) -> None:
    found = CityClock(zone).place(utc(instant))
    assert found == (utc(hour_start), date.fromisoformat(city_date), hour, False)


def test_the_hour_that_comes_twice_stays_two_hours() -> None:
    clock = CityClock("America/New_York")
    minutes = [utc("2025-11-02T04:00") + timedelta(minutes=minute) for minute in range(240)]
    starts = {clock.hour_start(minute) for minute in minutes}
    assert starts == {utc(f"2025-11-02T0{hour}:00") for hour in (4, 5, 6, 7)}


@pytest.mark.parametrize(
    ("day", "hours"), [("2025-03-09", 23), ("2025-06-01", 24), ("2025-11-02", 25)], ids=["spring", "summer", "autumn"]
)
def test_a_day_of_new_york_has_as_many_hours_as_it_has(day: str, hours: int) -> None:
    clock = CityClock("America/New_York")
    first = date.fromisoformat(day)
    assert clock.day_start(first + timedelta(days=1)) - clock.day_start(first) == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        ("Asia/Jakarta", "2025-01-01", "2024-12-31T17:00"),
        ("Asia/Kolkata", "2025-01-01", "2024-12-31T18:30"),
        ("America/New_York", "2025-03-09", "2025-03-09T05:00"),
        ("America/New_York", "2025-03-10", "2025-03-10T04:00"),
        ("America/Santiago", "2025-09-07", "2025-09-07T04:00"),  # midnight does not exist: the day starts at 01:00
        ("America/Havana", "2025-11-02", "2025-11-02T04:00"),  # midnight comes twice: the day starts at the first
    ],
)
def test_a_day_starts_at_its_first_existing_moment(zone: str, day: str, start: str) -> None:
    assert CityClock(zone).day_start(date.fromisoformat(day)) == utc(start)


@pytest.mark.parametrize(
    ("instant", "peak"),
    [
        ("2025-06-01T22:59:59", False),
        ("2025-06-01T23:00", True),  # 06:00 in Jakarta, whatever the machine's clock says
        ("2025-06-02T02:59:59", True),
        ("2025-06-02T03:00", False),
        ("2025-06-02T08:59:59", False),
        ("2025-06-02T09:00", True),
        ("2025-06-02T12:59:59", True),
        ("2025-06-02T13:00", False),
    ],
)
def test_peak_hours_are_in_the_citys_own_time(instant: str, peak: bool) -> None:
    assert CityClock("Asia/Jakarta", DEFAULT_PEAK_WINDOWS).place(utc(instant))[3] is peak


@pytest.mark.parametrize("zone", ZONES)
@given(instant=INSTANTS)
def test_every_instant_lies_in_its_hour_and_day(zone: str, instant: datetime) -> None:
    clock = CityClock(zone)
    start, day, hour, _ = clock.place(instant)
    assert start <= instant < start + timedelta(hours=1)
    assert start.astimezone(ZoneInfo(zone)).minute == 0
    assert clock.hour_start(start) == start
    assert (day, hour) == (clock.local(instant).date(), clock.local(instant).hour)
    assert clock.day_start(day) <= instant < clock.day_start(day + timedelta(days=1))


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-01-31", "2025-01-30T17:00"),
        ("2025-01-31T06:00", "2025-01-30T23:00"),
        ("2025-01-31 06:00:00.25", "2025-01-30T23:00:00.25"),
        ("2025-01-31T06:00Z", "2025-01-31T06:00"),
        ("2025-01-31T06:00+07:00", "2025-01-30T23:00"),
    ],
)
def test_a_time_without_an_offset_means_city_time(text: str, instant: str) -> None:
    assert CityClock("Asia/Jakarta").parse(text) == utc(instant)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2025-13-01", "31.01.2025", "1", "0001-01-01", "9999-12-31T23:00-05"]
)
def test_what_is_no_time_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a date or time|is out of range"):
        CityClock("Asia/Jakarta").parse(text)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/localtime", "Asia", "Asia/Jakarta\0"])
def test_a_zone_that_does_not_exist_is_named(zone: str) -> None:
    with pytest.raises(CatalogueError, match="is not known") as caught:
        CityClock(zone)
    assert repr(zone) in caught.value.message


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        ("Australia/Lord_Howe", "2025-01-01", "2035-01-01"),  # half an hour, twice a year
        ("America/Caracas", "2016-01-01", "2017-01-01"),  # half an hour, once
        ("Asia/Pyongyang", "2018-05-01", "2018-06-01"),
    ],
)
def test_a_zone_whose_clocks_move_by_half_an_hour_is_refused(zone: str, first: str, last: str) -> None:
    with pytest.raises(CatalogueError, match=f"the clocks of {zone} move by 0:30:00"):
        CityClock(zone).refuse_odd_shifts(date.fromisoformat(first), date.fromisoformat(last))


@pytest.mark.parametrize("zone", [*ZONES, "America/Caracas", "Asia/Pyongyang", "Antarctica/Troll"])
def test_zones_that_move_by_whole_hours_or_not_at_all_are_accepted(zone: str) -> None:
    CityClock(zone).refuse_odd_shifts(date(2019, 1, 1), date(2035, 1, 1))
