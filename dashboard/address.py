"""The page's address: every choice of the reader as query parameters, so that a view can be shared.

`read` takes whatever stands there, since anybody can write an address: what it cannot use it leaves out and names.
`write` gives the shortest parameters that `read` understands; what is as by default is not written.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final, TypeVar

from dashboard.reading import Choice
from dashboard.texts import LANGUAGES
from dashboard.units import KM_H, UNITS
from lambda_pipeline.domain.air_quality import AQI_BANDS
from lambda_pipeline.domain.traffic import TRAFFIC_LEVELS
from lambda_pipeline.serving.raw_choice import EVERYTHING, Half, RawFilter, RawSort

DAYS_SHOWN: Final = 7  # by default: today and the days before it
LOCATIONS_WRITTEN: Final = 50  # more would make an address that servers and chats cut off
PAGE_SIZES: Final = (100, 500, 1000)
LAYERS: Final = ("speed", "batch")
CATEGORIES: Final = tuple(band.category for band in AQI_BANDS)
LEVELS: Final = tuple(level.level for level in TRAFFIC_LEVELS)
ROWS_REACHED: Final = 100_000  # by turning pages; whoever wants more narrows or downloads

Value = TypeVar("Value")
Params = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class RawView:
    """How the raw data is looked at: filter, order, and page (from 1)."""

    where: RawFilter = EVERYTHING
    sort: RawSort = RawSort.TIMESTAMP
    descending: bool = True
    page_size: int = PAGE_SIZES[0]
    page: int = 1


@dataclass(frozen=True, slots=True)
class Selection:
    """All that the reader chose. No `days` means the last seven, also tomorrow; days are first and last, both in."""

    tab: str
    language: str
    units: str = KM_H.key
    locations: tuple[str, ...] = ()
    days: tuple[date, date] | None = None
    raw: RawView = field(default_factory=RawView)

    def choice(self, offer: "Offer") -> Choice:
        """What is read for it: half-open."""
        first, last = self.days or offer.default_days
        return Choice(first, last + timedelta(days=1), self.locations)


@dataclass(frozen=True, slots=True)
class Offer:
    """What there is to choose from, and the defaults that depend on the reader."""

    tabs: tuple[str, ...]
    locations: Collection[str]
    first_day: date  # of the history
    today: date
    language: str

    @property
    def default_days(self) -> tuple[date, date]:
        """First and last of the last seven days, as far as there are any."""
        return min(max(self.first_day, self.today - timedelta(days=DAYS_SHOWN - 1)), self.today), self.today

    @property
    def last_day(self) -> date:
        """A page left open over midnight still knows its day."""
        return self.today + timedelta(days=1)


def read(params: Params, offer: Offer) -> tuple[Selection, tuple[str, ...]]:
    """The selection that the parameters ask for, and the names of those that it could not use. Never raises."""
    reader = _Reader(params)
    tab = reader.one("tab", _among(offer.tabs), offer.tabs[0])
    locations = set(offer.locations)
    selection = Selection(
        tab=tab,
        language=reader.one("lang", _among(LANGUAGES), offer.language),
        units=reader.one("units", _among(UNITS), KM_H.key),
        locations=reader.many("location", _among(locations)),
        days=_days(reader, offer),
        raw=RawView(
            where=RawFilter(
                layers=reader.many("layer", _among(LAYERS)),
                aqi_categories=reader.many("category", _among(CATEGORIES)),
                traffic_levels=reader.many("level", lambda text: _among(LEVELS)(_whole(text))),
                missing=reader.one("missing", Half, None),
                is_peak_hour=reader.one("peak", lambda text: {"yes": True, "no": False}[text], None),
            ),
            sort=reader.one("sort", RawSort, RawSort.TIMESTAMP),
            descending=reader.one("order", lambda text: {"desc": True, "asc": False}[text], True),
            page_size=reader.one("rows", lambda text: _among(PAGE_SIZES)(_whole(text)), PAGE_SIZES[0]),
            page=reader.one("page", _page, 1),
        ),
    )
    return selection, reader.unusable


def write(selection: Selection, offer: Offer) -> dict[str, list[str]]:
    """The parameters of a selection; many locations are left out."""
    raw, where = selection.raw, selection.raw.where
    is_few = len(selection.locations) <= LOCATIONS_WRITTEN
    written: dict[str, list[Any]] = {
        "tab": [selection.tab] if selection.tab != offer.tabs[0] else [],
        "lang": [selection.language] if selection.language != offer.language else [],
        "units": [selection.units] if selection.units != KM_H.key else [],
        "location": list(selection.locations) if is_few else [],
        "from": [selection.days[0]] if selection.days else [],
        "to": [selection.days[1]] if selection.days else [],
        "layer": list(where.layers),
        "category": list(where.aqi_categories),
        "level": list(where.traffic_levels),
        "missing": [where.missing] if where.missing else [],
        "peak": [] if where.is_peak_hour is None else ["yes" if where.is_peak_hour else "no"],
        "sort": [raw.sort] if raw.sort != RawSort.TIMESTAMP else [],
        "order": [] if raw.descending else ["asc"],
        "rows": [raw.page_size] if raw.page_size != PAGE_SIZES[0] else [],
        "page": [raw.page] if raw.page != 1 else [],
    }
    return {name: [str(value) for value in values] for name, values in written.items() if values}


class _Reader:
    """Takes values out of parameters and remembers which were no good."""

    def __init__(self, params: Params) -> None:
        self._params = params
        self._unusable: dict[str, None] = {}

    @property
    def unusable(self) -> tuple[str, ...]:
        """Names of parameters of ours with a value that was left out."""
        return tuple(self._unusable)

    def many(self, name: str, parse: Callable[[str], Value]) -> tuple[Value, ...]:
        """The usable values, each once."""
        values: dict[Value, None] = {}
        for text in self._params.get(name, ()):
            try:
                values[parse(text)] = None
            except (ValueError, KeyError, OverflowError):
                self.refuse(name)
        return tuple(values)

    def one(self, name: str, parse: Callable[[str], Value], default: Value) -> Value:
        """The last usable value."""
        values = self.many(name, parse)
        return values[-1] if values else default

    def refuse(self, name: str) -> None:
        """Remember that it was no good."""
        self._unusable[name] = None


def _days(reader: _Reader, offer: Offer) -> tuple[date, date] | None:
    first = reader.one("from", _day, None)
    last = reader.one("to", _day, None)
    if first is None and last is None:
        return None
    first, last = first or last, last or first
    if first is None or last is None or not offer.first_day <= first <= last <= offer.last_day:
        reader.refuse("from")
        reader.refuse("to")
        return None
    return first, last


def _among(values: Collection[Value]) -> Callable[[Value], Value]:
    def parse(value: Value) -> Value:
        if value not in values:
            raise ValueError
        return value

    return parse


def _day(text: str) -> date:
    if len(text) != len("2026-03-12"):
        raise ValueError
    return date.fromisoformat(text)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError
    return int(text)


def _page(text: str) -> int:
    page = _whole(text)
    if not 1 <= page <= ROWS_REACHED // PAGE_SIZES[0]:
        raise ValueError
    return page
