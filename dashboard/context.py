"""What every part of the page needs to know, made once per run and handed on."""

from dataclasses import dataclass, replace
from datetime import datetime

from dashboard.downloads import Downloads
from dashboard.map_ground import MapOptions
from dashboard.reading import CityInfo
from dashboard.texts import Texts
from dashboard.units import KM_H, Units
from lambda_pipeline.domain.city_time import CityClock


@dataclass(frozen=True, slots=True)
class PageOptions:
    """Settings of the page. An empty `tile_url` means maps without tiles."""

    tile_url: str = ""
    tile_attribution: str = ""
    refresh_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Context:
    """City, clock, language, theme, units and the present."""

    city: CityInfo
    clock: CityClock
    texts: Texts
    options: PageOptions
    is_dark: bool
    now: datetime
    units: Units = KM_H
    downloads: Downloads | None = None  # None: nothing can be downloaded

    @property
    def zone(self) -> str:
        """The zone's short name just now, e.g. WIB."""
        return self.clock.local(self.now).strftime("%Z")

    @property
    def map_options(self) -> MapOptions:
        """What the maps need."""
        return MapOptions(self.options.tile_url, self.options.tile_attribution, self.is_dark)

    def at(self, now: datetime) -> "Context":
        """The same at another instant."""
        return replace(self, now=now)
