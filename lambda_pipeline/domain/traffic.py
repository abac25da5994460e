"""Traffic level: how congested a road is, from its current and its free-flow speed."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrafficLevel:
    """One band of the congestion ratio: a level holds while the ratio is below `below`."""

    level: int
    below: float
    name: str
    english: str


# r = (free flow - current) / free flow. The last band has no upper end.
TRAFFIC_LEVELS: tuple[TrafficLevel, ...] = (
    TrafficLevel(1, 0.1, "Lancar", "free"),
    TrafficLevel(2, 0.3, "Agak Lancar", "light"),
    TrafficLevel(3, 0.5, "Sedang", "moderate"),
    TrafficLevel(4, 0.7, "Padat", "heavy"),
    TrafficLevel(5, float("inf"), "Macet Total", "jammed"),
)

CLOSED_ROAD_LEVEL = 5
MIN_FREE_FLOW = 0.001  # km/h; what is slower and not 0 is nonsense, and its ratios overflow the integer sums
RATIO_DECIMALS = 9  # so that a tenth is a tenth in Python's floats and in PostgreSQL's


def congestion_ratio(current_speed: float | None, free_flow_speed: float | None) -> float | None:
    """Share of the free-flow speed (km/h) that is lost, rounded to nine decimals; None where it is not defined.

    Negative where traffic is faster than free flow, which is not an error: TomTom's free flow is an average.
    """
    if current_speed is None or free_flow_speed is None or free_flow_speed <= 0:
        return None
    return round((free_flow_speed - current_speed) / free_flow_speed, RATIO_DECIMALS)


def traffic_level(
    current_speed: float | None, free_flow_speed: float | None, road_closure: bool | None = None
) -> int | None:
    """Level 1 (free) to 5 (jammed); 5 for a closed road; None without a positive free-flow speed."""
    if road_closure:
        return CLOSED_ROAD_LEVEL
    ratio = congestion_ratio(current_speed, free_flow_speed)
    if ratio is None:
        return None
    for band in TRAFFIC_LEVELS:
        if ratio < band.below:
            return band.level
    return TRAFFIC_LEVELS[-1].level


def traffic_level_name(level: float | None) -> str:
    """Indonesian name of a level or of an average of levels (to the nearest, halves up); "Unknown" for None."""
    if level is None or math.isnan(level):
        return "Unknown"
    nearest = min(max(int(level + 0.5), 1), 5)
    return TRAFFIC_LEVELS[nearest - 1].name
