"""What a map says about a place when it is pointed at: Plotly's pseudo-HTML, with all outside text escaped.

A few places have everything known about them written out. Of very many, only the fields travel, and the browser puts
them into one text that all points of a trace share: a card of 10,000 places is 70 letters each instead of 400.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dashboard import formats
from dashboard.measures import AQI, TRAFFIC, Band, Measure
from dashboard.texts import MISSING, Texts
from dashboard.units import Units
from lambda_pipeline.domain.city_time import CityClock

WHOLE_UP_TO = 400  # places
OLD_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards of one trace: `hovertemplate` and `customdata`."""

    template: str
    fields: np.ndarray  # of text, points by fields; as an array Plotly takes it without looking at each


@dataclass(frozen=True, slots=True)
class CardWriter:
    """Writes cards of one measure in a language, city time and units."""

    measure: Measure
    clock: CityClock
    t: Texts
    units: Units

    def of_conditions(self, part: pd.DataFrame, band: Band, is_whole: bool) -> Cards:
        """Cards of HEATMAP rows of one band."""
        if is_whole:
            cards = [self.whole(row) for row in part.to_dict("records")]
            return Cards("%{customdata[0]}<extra></extra>", np.array(cards, dtype=object).reshape(-1, 1))
        t, other = self.t, self._other
        lines = [self._value_line("%{customdata[1]}", band.label), f"{t(other.key)}: %{{customdata[2]}}"]
        columns = [
            _written(part["location"], formats.hover),
            _written(part[self.measure.current], t.number),
            _written(part[other.current], t.number),
            _written(part["is_peak_hour"], self._peak),
            self._times(part),
            _written(part["layer"], self._layer),
        ]
        if self.measure is TRAFFIC:
            speed, free = "%{customdata[6]}", f"%{{customdata[7]}} {self.units.name(t)}"
            lines.insert(1, t("hover.speed", current=speed, free=free))
            columns += [_written(part[name], self._speed) for name in ("current_speed", "free_flow_speed")]
        else:
            lines.insert(1, t("hover.dominant", pollutant="%{customdata[6]}"))
            columns.append(_written(part["dominant_pollutant"], _pollutant))
        lines += ["%{customdata[3]}", t("hover.observed", time="%{customdata[4]}")]
        lines.append(t("hover.layer", layer="%{customdata[5]}"))
        return _cards(lines, columns)

    def of_hour(self, part: pd.DataFrame, band: Band) -> Cards:
        """Cards of HOUR rows of one band: the hour's averages."""
        t, other = self.t, self._other
        lines = [
            self._value_line("%{customdata[1]}", band.label),
            t("hover.observations", count="%{customdata[2]}"),
            f"{t(other.key)}: %{{customdata[3]}}",
            t("hover.average_speed", speed=f"%{{customdata[4]}} {self.units.name(t)}"),
            "%{customdata[5]}",
            t("hover.layer", layer="%{customdata[6]}"),
        ]
        columns = [
            _written(part["location"], formats.hover),
            _written(part[self.measure.mean], lambda value: t.number(value, self.measure.decimals)),
            _written(part[self.measure.count], t.number),
            _written(part[other.mean], lambda value: t.number(value, other.decimals)),
            _written(part["avg_speed"], self._speed),
            _written(part["is_peak_hour"], self._peak),
            _written(part["layer"], self._layer),
        ]
        return _cards(lines, columns)

    def whole(self, row: Mapping[Any, Any]) -> str:
        """Everything known about a place: one HEATMAP row as a card."""
        t, measure, other = self.t, self.measure, self._other
        value = None if formats.is_missing(row[measure.current]) else float(row[measure.current])
        label = measure.band_of(value, t).label
        lines = [f"<b>{formats.hover(row['location'])}</b>"]
        lines.append(self._value_line(t.number(value), label) if value is not None else self._missing_line())
        lines += self._traffic_lines(row) if measure is TRAFFIC else self._aqi_lines(row)
        if not formats.is_missing(row[other.current]):
            lines.append(f"{t(other.key)}: {t.number(row[other.current])}")
        lines.append(self._peak(row["is_peak_hour"]))
        observed, age = row[f"{measure.key}_observed_at"], row[f"{measure.key}_age_seconds"]
        if not formats.is_missing(observed):
            lines.append(t("hover.observed", time=formats.date_time(observed, self.clock, t)))
            # in hours, so that a map whose data did not change is the same from one refresh to the next
            if age >= OLD_SECONDS:
                lines.append(f"<b>{t('hover.old', hours=t.number(age // 3600))}</b>")
        if not formats.is_missing(row["layer"]):
            lines.append(t("hover.layer", layer=self._layer(row["layer"])))
        return "<br>".join(lines)

    @property
    def _other(self) -> Measure:
        return AQI if self.measure is TRAFFIC else TRAFFIC

    def _value_line(self, value: str, label: str) -> str:
        return f"{self.t(self.measure.key)}: <b>{value} · {formats.hover(label)}</b>"

    def _missing_line(self) -> str:
        return f"{self.t(self.measure.key)}: <b>{self.t('hover.missing')}</b>"

    def _traffic_lines(self, row: Mapping[Any, Any]) -> list[str]:
        t, lines = self.t, []
        if not formats.is_missing(row["current_speed"]):
            free = self.units.written(row["free_flow_speed"], t)
            lines.append(t("hover.speed", current=self._speed(row["current_speed"]), free=free))
        if not formats.is_missing(row["congestion_ratio"]):
            lines.append(t("hover.lost", share=t.percent(max(row["congestion_ratio"], 0.0))))
        if not formats.is_missing(row["road_closure"]) and row["road_closure"]:
            lines.append(f"<b>{t('hover.closed')}</b>")
        return lines

    def _aqi_lines(self, row: Mapping[Any, Any]) -> list[str]:
        t, lines = self.t, []
        if not formats.is_missing(row["dominant_pollutant"]):
            lines.append(t("hover.dominant", pollutant=_pollutant(row["dominant_pollutant"])))
        if parts := formats.pollutants(row["pollutants"]):
            lines.append(formats.hover_lines(t("hover.pollutants", pollutants=parts)))
        if not formats.is_missing(row["aqi_measured_at"]):
            lines.append(t("hover.measured", time=formats.date_time(row["aqi_measured_at"], self.clock, t)))
        if names := formats.source_names(row["attributions"]):
            lines.append(formats.hover_lines(t("hover.sources", sources=", ".join(names))))
        return lines

    def _times(self, part: pd.DataFrame) -> list[str]:
        """When the measure was observed, and how many hours ago if it is old."""
        times = _written(part[f"{self.measure.key}_observed_at"], lambda at: formats.date_time(at, self.clock, self.t))
        ages = part[f"{self.measure.key}_age_seconds"]
        hours = (ages // 3600).where(ages >= OLD_SECONDS)
        old = _written(hours, lambda n: f" ({self.t('hover.old', hours=self.t.number(n))})", missing="")
        return [time + age for time, age in zip(times, old, strict=True)]

    def _speed(self, km_h: Any) -> str:
        return self.t.number(self.units.speed(km_h))

    def _peak(self, is_peak: object) -> str:
        return self.t("hover.peak" if is_peak else "hover.off_peak")

    def _layer(self, layer: object) -> str:
        return self.t(f"layer.{layer}")


def _cards(lines: Sequence[str], columns: Sequence[list[str]]) -> Cards:
    template = "<br>".join(["<b>%{customdata[0]}</b>", *lines])
    return Cards(f"{template}<extra></extra>", np.array(columns, dtype=object).T)


def _pollutant(name: object) -> str:
    return formats.hover(formats.pollutant(name))


def _written(column: "pd.Series[Any]", write: Callable[[Any], str], missing: str | None = None) -> list[str]:
    """A column as text. Each different value is written once: 10,000 places share few times, levels and speeds."""
    codes, values = pd.factorize(column)
    texts = [write(value) for value in values]
    texts.append(MISSING if missing is None else missing)  # factorize gives -1, the last, to what is missing
    return [texts[code] for code in codes]
