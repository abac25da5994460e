"""The simulator's answers in the field names of the two real APIs, as the recorded ones have them."""

from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.local.simulated_city import ATTRIBUTIONS, SimulatedAir, SimulatedFlow

_SEGMENT_METRES = 1500.0


def flow_payload(place: Location, flow: SimulatedFlow) -> dict[str, Any]:
    """As TomTom's flowSegmentData answers."""
    latitude, longitude = place.latitude or 0.0, place.longitude or 0.0
    free = flow.free_flow_speed
    line = [{"latitude": latitude + step * 1e-4, "longitude": longitude + step * 1.5e-4} for step in (-2, -1, 0, 1, 2)]
    return {
        "flowSegmentData": {
            "frc": "FRC2" if free >= 50 else "FRC4",
            "currentSpeed": round(flow.current_speed),
            "freeFlowSpeed": round(free),
            "currentTravelTime": round(_SEGMENT_METRES * 3.6 / max(flow.current_speed, 1.0)),
            "freeFlowTravelTime": round(_SEGMENT_METRES * 3.6 / max(free, 1.0)),
            "confidence": 1,
            "roadClosure": flow.road_closure,
            "coordinates": {"coordinate": line},
            "@version": "traffic-service 4",
        }
    }


def feed_payload(place: Location, air: SimulatedAir, city: City, blank: bool) -> dict[str, Any]:
    """As AQICN's feed answers."""
    local = air.measured_at.astimezone(ZoneInfo(city.timezone))
    weather = {name: value for name, value in air.pollutants.items() if name in ("h", "p", "t", "w")}
    no_reading = blank or air.aqi is None
    return {
        "status": "ok",
        "data": {
            "aqi": "-" if no_reading else air.aqi,
            "idx": sum(map(ord, place.name)),
            "attributions": [{"url": url, "name": name} for name, url in ATTRIBUTIONS],
            "city": {
                "geo": [place.latitude, place.longitude],
                "name": f"{place.name}, {city.name}",
                "url": "https://example.org/simulated-stations",
                "location": "",
            },
            "dominentpol": "p" if no_reading else air.dominant_pollutant,
            "iaqi": {name: {"v": value} for name, value in (weather if no_reading else air.pollutants).items()},
            "time": {
                "s": local.strftime("%Y-%m-%d %H:%M:%S"),
                "tz": local.strftime("%z")[:3] + ":" + local.strftime("%z")[3:],
                "v": int(local.replace(tzinfo=UTC).timestamp()),  # local time as if it were UTC, like the real one
                "iso": local.isoformat(),
            },
            "debug": {"sync": local.isoformat()},
        },
    }
