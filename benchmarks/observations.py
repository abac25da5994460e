"""A made-up city of many locations, and what its ingest would have published: every field as a live poll fills it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.domain.observation import SCHEMA_VERSION, ObservationMessage
from lambda_pipeline.domain.traffic import traffic_level

TIMEZONE = "Asia/Jakarta"
SLOT = timedelta(minutes=3)
_ATTRIBUTIONS = [
    {"name": "BMKG | Badan Meteorologi, Klimatologi dan Geofisika", "url": "http://www.bmkg.go.id/"},
    {"name": "World Air Quality Index Project", "url": "https://waqi.info/"},
]


def make_city(locations: int) -> City:
    """A city with this many locations, each with a station and coordinates."""
    return City(
        "Benchmark",
        TIMEZONE,
        locations=tuple(
            Location(
                f"Kelurahan {n:05}",
                f"A{500_000 + n}",
                round(-6.4 + n % 100 * 0.005, 4),
                round(106.6 + n // 100 * 4e-3, 4),
            )
            for n in range(locations)
        ),
    )


def write_catalogue(city: City, path: Path) -> None:
    """The city as the TOML file that LAMBDA_CITY may name."""
    lines = [f'name = "{city.name}"', f'timezone = "{city.timezone}"']
    for place in city.locations:
        lines += [
            "",
            "[[locations]]",
            f'name = "{place.name}"',
            f'aqicn_station = "{place.aqicn_station}"',
            f"latitude = {place.latitude}",
            f"longitude = {place.longitude}",
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Stream:
    """Observations in the order of an ingest: slot after slot, and in each slot every location of the city once."""

    city: City
    start: datetime  # aware UTC, the first slot
    slot: timedelta = SLOT

    def message(self, number: int) -> ObservationMessage:
        """The observation of this number. One in 20 has no air, one in 50 no traffic, none neither."""
        slot, place = divmod(number, len(self.city.locations))
        timestamp = self.start + slot * self.slot
        location = self.city.locations[place]
        noise = number * 2_654_435_761 >> 7 & 0xFFFF  # reproducible, and much cheaper than a generator
        has_air, has_road = noise % 20 != 0, noise % 50 != 1
        free_flow = 30.0 + place % 50
        speed = float(round(free_flow * (0.35 + noise % 61 / 100))) if has_road else None
        return ObservationMessage(
            schema_version=SCHEMA_VERSION,
            timestamp=timestamp,
            location=location.name,
            latitude=location.latitude,
            longitude=location.longitude,
            aqi_value=20 + place % 130 + noise % 30 if has_air else None,
            aqi_measured_at=timestamp.replace(minute=0, second=0) if has_air else None,
            dominant_pollutant="pm25" if has_air else None,
            pollutants=_pollutants(noise) if has_air else None,
            traffic_level=traffic_level(speed, free_flow, False) if has_road else None,
            current_speed=speed,
            free_flow_speed=free_flow if has_road else None,
            road_closure=False if has_road else None,
            attributions=_ATTRIBUTIONS if has_air else None,
        )


def _pollutants(noise: int) -> dict[str, float]:
    """The sub-indices and the weather that a station reports."""
    return {
        "co": round(2 + noise % 17 / 10, 1),
        "h": float(60 + noise % 35),
        "no2": round(1 + noise % 93 / 10, 1),
        "o3": round(5 + noise % 301 / 10, 1),
        "p": round(1005 + noise % 101 / 10, 1),
        "pm10": float(10 + noise % 60),
        "pm25": float(20 + noise % 110),
        "so2": round(0.5 + noise % 41 / 10, 1),
        "t": round(24 + noise % 97 / 10, 1),
        "w": round(noise % 57 / 10, 1),
    }
