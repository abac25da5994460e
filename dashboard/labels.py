"""Where a place's name goes on a map: on the side of its point where it covers least. Pure geometry.

A map label is either drawn or, where it would touch another, left out by the browser; this choice keeps most of them.
It is made once for a typical width, since the browser does not tell its zoom.
"""

import math
from collections.abc import Sequence
from typing import Final

SIDES: Final = ("middle right", "middle left", "bottom center", "top center")  # Plotly's textposition, best first
WIDTH = 300.0  # pixels that the points' extent is assumed to fill: between a phone's map and a desk's
SLACK = 50.0  # pixels between the outermost points and the map's left and right edge
POINT = 15.0  # radius of a point, pixels
ONE_LINE = 16  # letters
BREAK = "<br>"  # the only thing that Plotly reads in a map label's text; the rest is shown as it is
LETTER, LINE = 6.4, 15.0  # a letter's width and a line's height, pixels

Box = tuple[float, float, float, float]  # left, top, right, bottom


def label_sides(points: Sequence[tuple[float, float]], names: Sequence[str]) -> list[str]:
    """One of SIDES per (latitude, longitude), in the given order; northern points choose first."""
    places = _pixels(points)
    taken = [(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in places]
    sides = [""] * len(places)
    for number in sorted(range(len(places)), key=lambda index: (places[index][1], places[index][0])):
        boxes = [_box(places[number], side, names[number]) for side in SIDES]
        costs = [sum(_overlap(box, other) for other in taken) + _outside(box) for box in boxes]
        best = costs.index(min(costs))
        sides[number] = SIDES[best]
        taken.append(boxes[best])
    return sides


def broken(name: str, side: str) -> str:
    """The label as it is written: a long name above or below its point takes two lines; no other break happens."""
    words = name.split()
    if side in SIDES[2:] and len(name) > ONE_LINE and len(words) > 1:
        cuts = range(1, len(words))
        cut = min(cuts, key=lambda at: max(len(" ".join(words[:at])), len(" ".join(words[at:]))))
        words = [" ".join(words[:cut]) + BREAK + " ".join(words[cut:])]
    return " ".join(words).replace(" ", "\u00a0")


def _pixels(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    if not points:
        return []
    south, north = min(p[0] for p in points), max(p[0] for p in points)
    west, east = min(p[1] for p in points), max(p[1] for p in points)
    shrink = math.cos(math.radians((south + north) / 2))
    scale = WIDTH / max((east - west) * shrink, north - south, 1e-9)
    return [((longitude - west) * shrink * scale, (north - latitude) * scale) for latitude, longitude in points]


def _box(place: tuple[float, float], side: str, name: str) -> Box:
    x, y = place
    lines = broken(name, side).split(BREAK)
    width, height = LETTER * max(len(line) for line in lines), LINE * len(lines)
    left = {"middle right": x + POINT, "middle left": x - POINT - width}.get(side, x - width / 2)
    top = {"bottom center": y + POINT, "top center": y - POINT - height}.get(side, y - height / 2)
    return left, top, left + width, top + height


def _outside(box: Box) -> float:
    """Pixels of a label that the map's edge would cut off, as an area."""
    return (max(-SLACK - box[0], 0.0) + max(box[2] - WIDTH - SLACK, 0.0)) * LINE


def _overlap(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across * down if across > 0 and down > 0 else 0.0
