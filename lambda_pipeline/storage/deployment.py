"""What a database belongs to: one city, one time zone, one start of history, and the locations that it knows."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.observation import Validator
from lambda_pipeline.domain.peak_hours import PeakWindow
from lambda_pipeline.errors import DeploymentMismatchError, SchemaError, StaleCatalogueError
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.floor import raw_floor


@dataclass(frozen=True, slots=True)
class Deployment:
    """A database's city as the database knows it. `locations` has every location ever known, by name.

    `catalogue_version` grows with every change of what records are judged by: locations, start of history, windows,
    and `raw_floor`, the first instant that raw_data still has (None: nothing was dropped).
    """

    city: str
    timezone: str
    history_start: date
    peak_windows: tuple[PeakWindow, ...]
    locations: dict[str, Location]
    catalogue_version: int
    raw_floor: datetime | None = None

    def clock(self) -> CityClock:
        """The city's clock."""
        return CityClock(self.timezone, self.peak_windows)

    def validator(self) -> Validator:
        """Judges messages by this database's catalogue."""
        clock = self.clock()
        return Validator(self.locations, clock, clock.day_start(self.history_start), self.raw_floor)


def claim(connection: sa.Connection, city: City, history_start: date, poll_interval: timedelta | None = None) -> None:
    """Make the database this city's, or check that it is, and bring the catalogue's locations and windows in.

    The start of history is only ever lowered. A location that left the catalogue is switched off, never deleted.
    Raises DeploymentMismatchError for another city or zone, CatalogueError for a zone of odd clock shifts.
    """
    city.clock().refuse_odd_shifts(history_start, datetime.now(UTC).date() + timedelta(days=3650))
    connection.execute(
        sa.text(
            "insert into deployment (city, timezone, history_start) values (:city, :timezone, :start) "
            "on conflict (only_row) do nothing"
        ),
        {"city": city.name, "timezone": city.timezone, "start": history_start},
    )
    connection.execute(sa.text("select from deployment for update"))
    require_city(connection, city)
    with _versioned(connection):
        connection.execute(
            sa.text("update deployment set history_start = :start where history_start > :start"),
            {"start": history_start},
        )
        _store_windows(connection, city.peak_windows)
        _upsert_locations(connection, city.locations, "catalogue")
    if poll_interval is not None:
        connection.execute(
            sa.text("update deployment set poll_interval_seconds = :seconds"),
            {"seconds": max(1, round(poll_interval.total_seconds()))},
        )
    connection.execute(
        sa.text(
            "update locations set is_active = (name = any(:names)) "
            "where origin = 'catalogue' and is_active <> (name = any(:names))"
        ),
        {"names": [location.name for location in city.locations]},
    )


def require_city(connection: sa.Connection, city: City) -> None:
    """Raise DeploymentMismatchError where the database is another city's, SchemaError where it is nobody's yet."""
    found = load_deployment(connection)
    if (found.city, found.timezone) != (city.name, city.timezone):
        raise DeploymentMismatchError(
            f"this database belongs to {found.city} ({found.timezone}), not to {city.name} ({city.timezone}).",
            "One database serves one city: set DATABASE_URL (or LAMBDA_HOME) to another, or LAMBDA_CITY to this one.",
        )


def settle_origin(connection: sa.Connection, *, is_simulated: bool) -> None:
    """Note whether this database holds simulated or live data: never both.

    Raises DeploymentMismatchError where it holds the other kind.
    """
    known = connection.execute(sa.text("select is_simulated from deployment for update")).scalar()
    if known is None:
        filled = connection.execute(
            sa.text("select exists (select from raw_data) or exists (select from realtime_data)")
        )
        known = False if filled.scalar() else is_simulated
    if known != is_simulated:
        holds, wanted = ("simulated", "live") if known else ("real", "simulated")
        raise DeploymentMismatchError(
            f"this database holds {holds} data, and {wanted} data must not be mixed in.",
            "Set LAMBDA_HOME (or DATABASE_URL) to another one, or remove this one with `make clean`.",
        )
    connection.execute(sa.text("update deployment set is_simulated = :simulated"), {"simulated": is_simulated})


def register_locations(connection: sa.Connection, locations: Iterable[Location], origin: str) -> None:
    """Add locations ('catalogue' or 'import'), or bring the known ones up to date. The catalogue has the last word."""
    with _versioned(connection):
        _upsert_locations(connection, locations, origin)


def require_catalogue(connection: sa.Connection, version: int | None) -> None:
    """Raise StaleCatalogueError unless the catalogue is the one of this version (None: whichever it is).

    Holds until the transaction ends if that holds the publish or the raw lock.
    """
    if version is None:
        return
    found = connection.execute(sa.text("select catalogue_version from deployment")).scalar()
    if found != version:
        raise StaleCatalogueError("the catalogue, the start of history or the retention floor was changed meanwhile.")


@contextmanager
def _versioned(connection: sa.Connection) -> Iterator[None]:
    """Count the catalogue's version up if the block changes what records are judged by.

    Under the locks of both layers' commits, so that each of them stands entirely before the change or after it.
    """
    before = load_deployment(connection)
    yield
    if load_deployment(connection) != before:
        locks.hold_raw(connection)
        locks.hold_publish(connection)
        connection.execute(sa.text("update deployment set catalogue_version = catalogue_version + 1"))


def _upsert_locations(connection: sa.Connection, locations: Iterable[Location], origin: str) -> None:
    rows = [
        {
            "name": location.name,
            "station": location.aqicn_station,
            "latitude": location.latitude,
            "longitude": location.longitude,
            "origin": origin,
        }
        for location in sorted(locations, key=lambda location: location.name)
    ]
    if rows:
        connection.execute(
            sa.text(
                "insert into locations as l (name, aqicn_station, latitude, longitude, origin) "
                "values (:name, :station, :latitude, :longitude, :origin) "
                "on conflict (name) do update set aqicn_station = excluded.aqicn_station, "
                "latitude = excluded.latitude, longitude = excluded.longitude, origin = excluded.origin "
                "where l.origin <> 'catalogue' or excluded.origin = 'catalogue'"
            ),
            rows,
        )


def load_deployment(connection: sa.Connection) -> Deployment:
    """The deployment that the database holds. Raises SchemaError where it was never set up."""
    row, windows = _load_city(connection)
    places = connection.execute(sa.text("select name, aqicn_station, latitude, longitude from locations"))
    return Deployment(
        row.city,
        row.timezone,
        row.history_start,
        windows,
        {place.name: Location(*place) for place in places},
        row.catalogue_version,
        raw_floor(connection),
    )


def load_city(connection: sa.Connection) -> tuple[str, str, date, tuple[PeakWindow, ...]]:
    """City, time zone, start of history and peak windows, without the locations, which may be many.

    Raises SchemaError where it was never set up.
    """
    row, windows = _load_city(connection)
    return row.city, row.timezone, row.history_start, windows


def _load_city(connection: sa.Connection) -> tuple[sa.Row[Any], tuple[PeakWindow, ...]]:
    row = connection.execute(
        sa.text("select city, timezone, history_start, catalogue_version from deployment")
    ).one_or_none()
    if row is None:
        raise SchemaError("the database belongs to no city yet.", "Run `lambda-pipeline db upgrade`.")
    windows = connection.execute(sa.text("select start_hour, end_hour from peak_windows order by start_hour"))
    return row, tuple(PeakWindow(*window) for window in windows)


def _store_windows(connection: sa.Connection, windows: tuple[PeakWindow, ...]) -> None:
    """Replace the peak windows. The daily rows are split by the ones of before: from now on they are stale."""
    stored = connection.execute(sa.text("select start_hour, end_hour from peak_windows")).all()
    if {tuple(row) for row in stored} == {(window.start_hour, window.end_hour) for window in windows}:
        return
    locks.hold_days(connection)
    connection.execute(sa.text("delete from computed_days where table_name = 'daily_aggregations'"))
    connection.execute(sa.text("delete from peak_windows"))
    if windows:
        connection.execute(
            sa.text("insert into peak_windows (start_hour, end_hour) values (:start, :end)"),
            [{"start": window.start_hour, "end": window.end_hour} for window in windows],
        )
