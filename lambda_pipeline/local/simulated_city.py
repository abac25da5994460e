"""A city that does not exist: what its roads and its air are like at any instant, as a pure function of a seed.

No state and no order of calls: whoever asks twice gets the same answer, the history that `demo` writes and the HTTP
simulator agree, and a test can predict both.

Traffic follows the commuters of the city's own time: a morning and an evening rush on working days, something between
them, a later and milder weekend, quiet nights; each location has its own share of both rushes and its own road. The
air follows the traffic of the last hours, about one and a half hours behind, over a background that moves with the
weather and rises in the small hours, when an inversion keeps it down. On top lie slow drifts, a little noise, and what
real services do: short outages, stations that repeat an old reading for hours, stations without a reading.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.domain.observation import SCHEMA_VERSION, ObservationMessage
from lambda_pipeline.domain.traffic import traffic_level

STALE_AFTER = timedelta(hours=3)
ATTRIBUTIONS: tuple[tuple[str, str], ...] = (
    ("Simulated readings, not measurements", "https://example.org/simulated-stations"),
    ("Lambda pipeline's simulator", "https://example.org/simulator"),
)

_DAY, _WEEK = 1440, 7 * 1440  # minutes
_HOUR_SECONDS = 3600
_MASK = (1 << 64) - 1
_LAG_FROM, _LAG_TO = 30, 150  # minutes of past traffic that make the air: on average 90 minutes ago
_NOISE, _OUTAGE_FLOW, _OUTAGE_AIR, _STUCK, _BLANK, _CLOSED = range(1, 7)
_DRIFT_ROAD, _DRIFT_CITY, _DRIFT_DAY, _DRIFT_WEATHER, _DRIFT_AIR, _NOISE_AIR = range(7, 13)
_CADENCES = (600, 1200, 1800, 3600)  # seconds between a station's measurements
_FREE_FLOWS = (28, 32, 36, 40, 45, 50, 58, 66)  # km/h, from narrow streets to toll roads


@dataclass(frozen=True, slots=True)
class SimulatedFlow:
    """A road now: speeds in km/h."""

    current_speed: float
    free_flow_speed: float
    road_closure: bool


@dataclass(frozen=True, slots=True)
class SimulatedAir:
    """A station's latest reading: AQI (None where it shows "-"), when measured (aware UTC), sub-indices by name."""

    aqi: int | None
    measured_at: datetime
    dominant_pollutant: str
    pollutants: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Character:
    """What makes one location differ from the others."""

    key: int
    free_flow: int
    base: float  # share of the free-flow speed that is lost on an empty day
    reach: float  # share lost on top of it at full demand
    morning: float
    evening: float
    shift: int  # minutes after the city's rush
    air_base: float
    air_reach: float
    inversion: float
    cadence: int


def _bump(minute: float, centre: float, rise: float, fall: float) -> float:
    """A rush: a bell of the day with its own rise and fall, in minutes, seen across midnight."""
    distance = (minute - centre + _DAY / 2) % _DAY - _DAY / 2
    return math.exp(-0.5 * (distance / (rise if distance < 0 else fall)) ** 2)


def _week() -> tuple[list[float], list[float], list[float]]:
    """Demand by minute of the week (Monday first): the morning's, the evening's, and the rest."""
    morning, evening, rest = [], [], []
    for index in range(_WEEK):
        day, minute = divmod(index, _DAY)
        if day < 5:
            friday = 1.12 if day == 4 else 1.0
            morning.append(0.96 * _bump(minute, 450, 50, 75))
            evening.append(friday * _bump(minute, 1065, 80, 75))
            rest.append(0.30 * _bump(minute, 765, 170, 190) + 0.10 * _bump(minute, 1245, 60, 90))
        else:
            scale = 1.0 if day == 5 else 0.8
            morning.append(0.0)
            evening.append(scale * 0.35 * _bump(minute, 1140, 90, 90))
            rest.append(scale * 0.42 * _bump(minute, 750, 140, 200))
    return morning, evening, rest


def _lagged(demand: list[float]) -> list[float]:
    """Mean of the demand between 150 and 30 minutes ago, at each minute of the (repeating) week."""
    sums = [0.0]
    for value in demand + demand:
        sums.append(sums[-1] + value)
    return [
        (sums[index + _WEEK - _LAG_FROM] - sums[index + _WEEK - _LAG_TO]) / (_LAG_TO - _LAG_FROM)
        for index in range(_WEEK)
    ]


_MORNING, _EVENING, _REST = _week()
_PAST_MORNING, _PAST_EVENING, _PAST_REST = _lagged(_MORNING), _lagged(_EVENING), _lagged(_REST)
_INVERSION = [_bump(minute, 270, 130, 110) for minute in range(_DAY)]


def _unit(key: int, channel: int, number: int) -> float:
    """A number from 0 to below 1, always the same for the same three (splitmix64)."""
    x = (key + channel * 0xD1342543DE82EF95 + number * 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return (x ^ (x >> 31)) / 18446744073709551616.0


_lattice = lru_cache(maxsize=1 << 17)(_unit)


def _drift(key: int, channel: int, seconds: int, period: int) -> float:
    """Smooth noise from -1 to 1 that changes its mind about once a period (seconds)."""
    number, rest = divmod(seconds, period)
    before, after = _lattice(key, channel, number), _lattice(key, channel, number + 1)
    part = rest / period
    return 2.0 * (before + (after - before) * part * part * (3.0 - 2.0 * part)) - 1.0


class SimulatedCity:
    """The model of one city. Equal seeds and catalogues give equal cities; instants must be aware."""

    def __init__(self, city: City, seed: int) -> None:
        self.city = city
        self.seed = seed
        self._key = _key(seed, "")
        self._zone = city.clock().zone
        self._characters: dict[str, _Character] = {}
        self._minute_of_week = lru_cache(maxsize=4096)(self._compute_minute_of_week)

    def flow(self, location: Location, instant: datetime) -> SimulatedFlow | None:
        """The road at a location (whole km/h, as TomTom says them); None without coordinates or in an outage."""
        if location.latitude is None:
            return None
        seconds = int(instant.timestamp())
        me = self._character(location)
        if _lattice(me.key, _OUTAGE_FLOW, seconds // 1200) < 0.004 or self._city_outage(seconds):
            return None
        if _lattice(me.key, _CLOSED, seconds // 2400) < 0.0005:
            return SimulatedFlow(0.0, float(me.free_flow), True)
        lost = self._lost(me, seconds)
        return SimulatedFlow(float(max(round(me.free_flow * (1.0 - lost)), 1)), float(me.free_flow), False)

    def air(self, location: Location, instant: datetime) -> SimulatedAir | None:
        """What a location's station shows; None without a station or in an outage."""
        if location.aqicn_station is None:
            return None
        seconds = int(instant.timestamp())
        me = self._character(location)
        if _lattice(me.key, _OUTAGE_AIR, seconds // 1800) < 0.004 or self._city_outage(seconds):
            return None
        measured = seconds - seconds % me.cadence
        if _lattice(me.key, _STUCK, seconds // 28_800) < 0.02:
            measured = seconds - seconds % 28_800  # repeats the reading with which these eight hours began
        aqi = None if _lattice(me.key, _BLANK, seconds // 5400) < 0.012 else self._aqi(me, measured)
        pollutants = self._pollutants(me, measured, aqi)
        return SimulatedAir(aqi, datetime.fromtimestamp(measured, UTC), "pm25", pollutants)

    def observation(
        self, location: Location, instant: datetime, stale_after: timedelta = STALE_AFTER
    ) -> ObservationMessage | None:
        """What the poller publishes of a location at a slot; None where both halves are missing."""
        flow = self.flow(location, instant)
        air = self.air(location, instant)
        if air is not None and (air.aqi is None or instant - air.measured_at > stale_after):
            air = None
        if flow is None and air is None:
            return None
        level = traffic_level(flow.current_speed, flow.free_flow_speed, flow.road_closure) if flow else None
        return ObservationMessage(
            schema_version=SCHEMA_VERSION,
            timestamp=instant,
            location=location.name,
            latitude=location.latitude,
            longitude=location.longitude,
            aqi_value=air.aqi if air else None,
            aqi_measured_at=air.measured_at if air else None,
            dominant_pollutant=air.dominant_pollutant if air else None,
            pollutants=air.pollutants if air else None,
            traffic_level=level,
            current_speed=flow.current_speed if flow else None,
            free_flow_speed=flow.free_flow_speed if flow else None,
            road_closure=flow.road_closure if flow else None,
            attributions=[{"name": name, "url": url} for name, url in ATTRIBUTIONS] if air else None,
        )

    def history(
        self, start: datetime, end: datetime, step: timedelta, stale_after: timedelta = STALE_AFTER
    ) -> Iterator[ObservationMessage]:
        """Observations of all locations in [start, end), every `step` from `start` on, in time order, UTC.

        Raises ValueError for naive instants or a step that is not positive.
        """
        if start.tzinfo is None or end.tzinfo is None or step <= timedelta(0):
            raise ValueError("history needs aware instants and a positive step")
        instant = start.astimezone(UTC)
        while instant < end:
            for location in self.city.locations:
                message = self.observation(location, instant, stale_after)
                if message is not None:
                    yield message
            instant += step

    def _compute_minute_of_week(self, minute: int) -> int:
        """Minute of the week in the city's time, Monday 00:00 being 0, of a minute since 1970."""
        local = datetime.fromtimestamp(minute * 60, self._zone)
        return local.weekday() * _DAY + local.hour * 60 + local.minute

    def _character(self, location: Location) -> _Character:
        found = self._characters.get(location.name)
        if found is None:
            key = _key(self.seed, location.name)
            draw = [_unit(key, 0, number) for number in range(10)]
            found = self._characters[location.name] = _Character(
                key=key,
                free_flow=_FREE_FLOWS[int(draw[0] * len(_FREE_FLOWS))],
                base=0.02 + 0.05 * draw[1],
                reach=0.50 + 0.22 * draw[2],
                morning=0.85 + 0.25 * draw[3],
                evening=0.88 + 0.25 * draw[4],
                shift=int(30 * draw[5]) - 15,
                air_base=52.0 + 36.0 * draw[6],
                air_reach=42.0 + 34.0 * draw[7],
                inversion=6.0 + 9.0 * draw[8],
                cadence=_CADENCES[int(draw[9] * len(_CADENCES))],
            )
        return found

    def _city_outage(self, seconds: int) -> bool:
        """Twelve minutes in which neither API answers, every few days."""
        return _lattice(self._key, _OUTAGE_FLOW, seconds // 720) < 0.002

    def _mood(self, me: _Character, seconds: int) -> float:
        """Factor on the demand: the day's, the city's of these hours (weather, say), and the place's own."""
        return (
            1.0
            + 0.07 * _drift(self._key, _DRIFT_DAY, seconds, 30 * _HOUR_SECONDS)
            + 0.08 * _drift(self._key, _DRIFT_CITY, seconds, 4 * _HOUR_SECONDS)
            + 0.10 * _drift(me.key, _DRIFT_ROAD, seconds, 2 * _HOUR_SECONDS)
        )

    def _lost(self, me: _Character, seconds: int) -> float:
        """Share of the free-flow speed that is lost, 0 to 0.93."""
        minute = (self._minute_of_week(seconds // 60) - me.shift) % _WEEK
        demand = me.morning * _MORNING[minute] + me.evening * _EVENING[minute] + _REST[minute]
        noise = 0.05 * (_unit(me.key, _NOISE, seconds) - 0.5)
        return min(max(me.base + me.reach * demand * self._mood(me, seconds) + noise, 0.0), 0.93)

    def _aqi(self, me: _Character, seconds: int) -> int:
        minute = (self._minute_of_week(seconds // 60) - me.shift) % _WEEK
        demand = me.morning * _PAST_MORNING[minute] + me.evening * _PAST_EVENING[minute] + _PAST_REST[minute]
        mood = self._mood(me, seconds - (_LAG_FROM + _LAG_TO) * 30)  # that of the traffic which made this air
        weather = 1.0 + 0.20 * _drift(self._key, _DRIFT_WEATHER, seconds, 40 * _HOUR_SECONDS)
        local = 1.0 + 0.06 * _drift(me.key, _DRIFT_AIR, seconds, 9 * _HOUR_SECONDS)
        noise = 4.0 * (_unit(me.key, _NOISE_AIR, seconds) - 0.5)
        value = (
            (me.air_base + me.air_reach * demand * mood + me.inversion * _INVERSION[minute % _DAY]) * weather * local
        )
        return min(max(round(value + noise), 4), 480)

    def _pollutants(self, me: _Character, seconds: int, aqi: int | None) -> dict[str, float]:
        """The sub-indices as AQICN lists them, weather included; without a reading only the weather."""
        warmth = _bump((self._minute_of_week(seconds // 60)) % _DAY, 810, 210, 260)
        weather = {"h": float(round(88 - 28 * warmth)), "t": round(25.5 + 7.5 * warmth, 1), "p": 1010.0}
        if aqi is None:
            return weather
        share = 0.42 + 0.08 * _drift(me.key, _DRIFT_AIR, seconds, 9 * _HOUR_SECONDS)
        return {"pm25": float(aqi), "pm10": float(round(aqi * share)), "no2": round(aqi * 0.13, 1), **weather}


def _key(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest(), "big")
