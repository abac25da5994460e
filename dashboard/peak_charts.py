"""Charts of the peaks: observed against configured, by location, and the air's lag behind the traffic.

Frames in (OBSERVED_PEAKS, STATISTICS, a `Correlation`), a Plotly figure out. Outside text is escaped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd
import plotly.graph_objects as go

from dashboard import figures, formats, theme
from dashboard.correlation import Correlation
from dashboard.measures import Measure
from dashboard.texts import Texts
from lambda_pipeline.domain.peak_hours import PeakWindow

# none, traffic, AQI, both: the letters say the same as the colours
_STATES: Final = (theme.GRID, theme.TRAFFIC, theme.AQI, theme.BOTH_PEAKS)


@dataclass(frozen=True, slots=True)
class PeakRow:
    """One row of the matrix: a name as it came, and the city hours that are observed peaks. None is not observed."""

    name: str
    traffic: frozenset[int]
    aqi: frozenset[int]
    observed: frozenset[int]


def peak_rows(observed: pd.DataFrame, is_weekend: bool) -> list[PeakRow]:
    """Rows of an OBSERVED_PEAKS frame, weekdays or weekends, by location."""
    rows = []
    for name, part in observed[observed["is_weekend"] == is_weekend].groupby("location"):
        traffic, aqi = (frozenset(part.loc[part[f"is_{key}_peak"], "hour"]) for key in ("traffic", "aqi"))
        rows.append(PeakRow(str(name), traffic, aqi, frozenset(part["hour"])))
    return rows


def observed_peaks(rows: Sequence[PeakRow], windows: Sequence[PeakWindow], zone: str, t: Texts) -> go.Figure:
    """Which hours are peaks, a row per location: a letter where traffic's is observed, AQI's, or both.

    The configured windows are the shaded and framed columns.
    """
    letters = ("", t("peaks.letter.traffic"), t("peaks.letter.aqi"), t("peaks.letter.both"))
    said = tuple(t(f"peaks.state.{state}") for state in ("none", "traffic", "aqi", "both"))
    states = [
        [(hour in row.traffic) + 2 * (hour in row.aqi) if hour in row.observed else None for hour in range(24)]
        for row in rows
    ]
    figure = go.Figure(
        go.Heatmap(
            z=states,
            x=list(range(24)),
            y=[formats.hover(row.name) for row in rows],
            text=[[letters[state] if state else "" for state in row] for row in states],
            texttemplate="%{text}",
            textfont={"color": "#ffffff", "size": 10},
            customdata=[
                [[figures.hour_name(hour), said[state or 0]] for hour, state in enumerate(row)] for row in states
            ],
            hovertemplate="<b>%{y}, %{customdata[0]}</b><br>%{customdata[1]}<extra></extra>",
            hoverongaps=False,
            zmin=0,
            zmax=3,
            colorscale=[[at / 4, colour] for number, colour in enumerate(_STATES) for at in (number, number + 1)],
            showscale=False,
            xgap=2,
            ygap=2,
        )
    )
    for window in windows:
        figure.add_vrect(
            x0=window.start_hour - 0.5,
            x1=window.end_hour - 0.5,
            fillcolor=theme.PEAK_SHADE,
            line={"color": theme.PEAK_FRAME, "width": 2, "dash": "dot"},
            layer="above",
        )
    return figure.update_layout(
        figures.layout(t, t("peaks.observed"), t("peaks.observed.key"), figures.rows_height(len(rows))),
        xaxis=figures.hour_axis(zone, t),
        yaxis=figures.places_axis([formats.hover(row.name) for row in rows]) | {"showgrid": False},
    )


def peak_by_location(statistics: pd.DataFrame, measure: Measure, t: Texts) -> go.Figure:
    """Per location of a STATISTICS frame its average at peak and off-peak hours, joined; the highest peak on top."""
    peak, off_peak = f"peak_avg_{measure.key}", f"off_peak_avg_{measure.key}"
    is_known = statistics["location"].notna() & (statistics[peak].notna() | statistics[off_peak].notna())
    places = statistics[is_known].sort_values([peak, off_peak, "location"], ascending=[False, False, True])
    shown = places.head(figures.SHOWN)
    names = [formats.hover(name) for name in shown["location"]]
    figure = go.Figure(
        go.Scatter(
            x=[x for low, high in zip(shown[off_peak], shown[peak], strict=True) for x in (low, high, None)],
            y=[y for name in names for y in (name, name, None)],
            mode="lines",
            line={"color": theme.MUTED, "width": 2},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    for column, key, symbol, colour in (
        (off_peak, "peaks.off_peak", "circle-open", theme.MUTED),
        (peak, "peaks.peak", "circle", measure.colour),
    ):
        figure.add_trace(
            go.Scatter(
                x=shown[column],
                y=names,
                mode="markers",
                marker={"size": 13, "symbol": symbol, "color": colour, "line": {"width": 2.5, "color": colour}},
                customdata=[t.number(count) for count in shown[measure.count]],
                hovertemplate=f"<b>%{{y}}</b><br>{t(key)}: %{{x:.{measure.decimals}f}}<br>"
                f"{t('peaks.of_all', count='%{customdata}')}<extra></extra>",
                name=t(key),
            )
        )
    figure.update_layout(
        figures.layout(
            t,
            t("peaks.locations", measure=t(f"{measure.key}.short")),
            of_total(len(shown), len(places), int(places[measure.count].sum()), t),
            figures.rows_height(len(shown)),
        ),
        xaxis={"title": {"text": figures.unit(measure, t)}, "gridcolor": theme.GRID, "fixedrange": True},
        yaxis=figures.places_axis(names),
    )
    return figures.legend_below(figure)


def of_total(shown: int, total: int, observations: int, t: Texts) -> str:
    """How many observations averages rest on, and where only the first of many locations are drawn, that."""
    of_all = t("peaks.from", count=t.number(observations))
    return f"{t('peaks.shown', shown=t.number(shown), total=t.number(total))} · {of_all}" if shown < total else of_all


def correlation(found: Correlation, t: Texts) -> go.Figure:
    """Pearson's r of hourly traffic and AQI per lag; the strongest one is marked by its pattern and its number."""
    lags, strongest = found.lags[found.lags["r"].notna()], found.strongest
    is_strongest = [strongest is not None and lag == strongest["lag"] for lag in lags["lag"]]
    figure = go.Figure(
        go.Bar(
            x=lags["lag"],
            y=lags["r"],
            marker={
                "color": [theme.AQI if is_it else theme.MUTED for is_it in is_strongest],
                "pattern": {"shape": ["" if is_it else "/" for is_it in is_strongest], "solidity": 0.15},
            },
            text=[t.number(r, 2) if is_it else "" for r, is_it in zip(lags["r"], is_strongest, strict=True)],
            textposition="outside",
            textangle=0,
            constraintext="none",
            cliponaxis=False,
            customdata=[
                [lag_in_words(int(lag), t), t.number(n)] for lag, n in zip(lags["lag"], lags["pairs"], strict=True)
            ],
            hovertemplate="<b>%{customdata[0]}</b><br>r = %{y:.2f}<br>"
            f"{t('correlation.pairs', count='%{customdata[1]}')}<extra></extra>",
        )
    )
    return figure.update_layout(
        figures.layout(t, t("correlation.title"), correlation_in_words(found, t)),
        xaxis={"title": {"text": t("correlation.lag")}, "range": [-12.6, 12.6], "dtick": 3, "fixedrange": True}
        | {"showgrid": False, "zeroline": True, "zerolinecolor": theme.OUTLINE},
        yaxis={"title": {"text": t("correlation.r")}, "range": [-1.05, 1.15], "dtick": 0.5, "gridcolor": theme.GRID}
        | {"zerolinecolor": theme.OUTLINE, "fixedrange": True},
        showlegend=False,
        bargap=0.3,
    )


def lag_in_words(lag: int, t: Texts) -> str:
    """What a lag means: "AQI 2 h after traffic"."""
    if lag == 0:
        return t("correlation.same")
    return t("correlation.after" if lag > 0 else "correlation.before", hours=abs(lag))


def correlation_in_words(found: Correlation, t: Texts) -> str:
    """Which lag has the strongest r, how strong it is and on how many pairs it rests; or that there are too few."""
    strongest = found.strongest
    if strongest is None:
        most = int(found.lags["pairs"].max()) if len(found.lags) else 0
        return t("correlation.too_few", count=t.number(most))
    lag = int(strongest["lag"])
    key = "same_hour" if lag == 0 else "follows" if lag > 0 else "leads"
    said = t(f"correlation.{key}", hours=abs(lag))
    against = t("correlation.opposite") if strongest["r"] < 0 else ""
    values = t("correlation.values", r=t.number(strongest["r"], 2), count=t.number(strongest["pairs"]))
    return f"{said}{against} ({values})"
