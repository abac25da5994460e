"""How speeds are written. They are km/h wherever they are stored, served and downloaded; only the screen converts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dashboard.texts import Texts


@dataclass(frozen=True, slots=True)
class Units:
    """One choice of units; `key` is that of its name among the texts, and its value in the address."""

    key: str = "kmh"
    per_km_h: float = 1.0

    def speed(self, km_h: Any) -> Any:
        """A speed, or a column of speeds, in this unit. What is missing stays missing."""
        return km_h * self.per_km_h

    def name(self, t: Texts) -> str:
        """The unit as it is written, e.g. "km/h"."""
        return t(f"unit.{self.key}")

    def written(self, km_h: Any, t: Texts, decimals: int = 0) -> str:
        """A speed with its unit; a dash for a missing one."""
        number = t.number(None if km_h is None else self.speed(km_h), decimals)
        return f"{number} {self.name(t)}"


KM_H: Final = Units()
MPH: Final = Units("mph", 1 / 1.609344)
UNITS: Final[Mapping[str, Units]] = {units.key: units for units in (KM_H, MPH)}
