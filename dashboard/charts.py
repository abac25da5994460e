"""Charts of hours and weeks: a PEAK_HOURS frame in, a Plotly figure out.

Traffic is the average level (1 free to 5 jammed), AQI the average US EPA index; hours are the city's. Hover cards
name the observations behind every average. Outside text is escaped, since Plotly reads pseudo-HTML.
"""

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard import aggregates, figures, formats, theme
from dashboard.measures import AQI, TRAFFIC, Measure
from dashboard.texts import Texts
from lambda_pipeline.domain.peak_hours import PeakWindow

Windows = tuple[PeakWindow, ...]


def by_hour(peaks: pd.DataFrame, measure: Measure, windows: Windows, zone: str, t: Texts) -> go.Figure:
    """Bars of the average of `measure` per hour of the day, in its bands' colours, peak windows shaded."""
    hours = aggregates.by_hour(peaks, measure)
    bands = [measure.band_of(value, t) for value in hours["average"]]
    figure = go.Figure(
        go.Bar(
            x=hours["hour"],
            y=hours["average"],
            marker={"color": [band.colour for band in bands], "line": {"color": theme.OUTLINE, "width": 1}},
            customdata=[
                [_hour(hour), t.number(value, measure.decimals), formats.hover(band.label), t.number(n)]
                for hour, value, n, band in zip(
                    hours["hour"], hours["average"], hours["observations"], bands, strict=True
                )
            ],
            hovertemplate=f"<b>%{{customdata[0]}}</b><br>{t(measure.key)}: %{{customdata[1]}} (%{{customdata[2]}})<br>"
            f"{t('hover.observations', count='%{customdata[3]}')}<extra></extra>",
            name=t(measure.key),
        )
    )
    _shade(figure, windows, t)
    figure.update_layout(
        figures.layout(t(f"peaks.{measure.key}_by_hour")),
        xaxis=_hour_axis(zone, t),
        yaxis=_value_axis(measure, t, hours["average"]),
        bargap=0.18,
        showlegend=False,
    )
    return figure


def combined(peaks: pd.DataFrame, windows: Windows, zone: str, t: Texts) -> go.Figure:
    """Both measures by hour, each on its own axis: traffic level always 1 to 5, AQI always from 0, one shared grid."""
    figure = go.Figure()
    for measure, axis, dash in ((TRAFFIC, "y", "solid"), (AQI, "y2", "dot")):
        hours = aggregates.by_hour(peaks, measure).set_index("hour").reindex(range(24))
        figure.add_trace(
            go.Scatter(
                x=list(range(24)),
                y=hours["average"],
                yaxis=axis,
                mode="lines+markers",
                line={"color": measure.colour, "width": 3, "shape": "spline", "dash": dash},
                marker={"size": 7, "symbol": "circle" if measure is TRAFFIC else "diamond"},
                customdata=[[_hour(hour), t.number(n)] for hour, n in hours["observations"].items()],
                hovertemplate=f"{t(measure.key)}: %{{y:.{measure.decimals}f}} "
                f"({t('hover.observations', count='%{customdata[1]}')})<extra></extra>",
                name=f"{t(measure.key)} ({t(f'{measure.key}.unit')})",
                connectgaps=False,
            )
        )
    _shade(figure, windows, t)
    aqi = aggregates.by_hour(peaks, AQI)["average"]
    top = 200 if not len(aqi) else max(100, 100 * math.ceil(float(aqi.max()) / 100))
    figure.update_layout(
        figures.layout(t("peaks.combined")),
        xaxis=_hour_axis(zone, t),
        yaxis={"title": {"text": t("traffic")}, "range": [1, 5], "dtick": 1, "gridcolor": theme.GRID},
        yaxis2={
            "title": {"text": t("aqi")},
            "range": [0, top],
            "dtick": top / 4,  # four steps on either axis: one grid serves both
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
        },
        hovermode="x unified",
        legend=figures.legend_below(),
    )
    return figure


def week(peaks: pd.DataFrame, measure: Measure, zone: str, t: Texts) -> go.Figure:
    """Heatmap of the average of `measure` by city hour and weekday; empty cells have no observation."""
    averages, counts = aggregates.by_weekday_and_hour(peaks, measure)
    figure = go.Figure(
        go.Heatmap(
            z=averages.to_numpy(),
            x=list(range(24)),
            y=[t(f"weekday.{day}") for day in range(7)],
            customdata=[[[_hour(hour), t.number(counts.loc[day, hour])] for hour in range(24)] for day in range(7)],
            colorscale=[list(step) for step in measure.scale],
            hoverongaps=False,
            hovertemplate=f"<b>%{{y}} %{{customdata[0]}}</b><br>{t(measure.key)}: %{{z:.{measure.decimals}f}}<br>"
            f"{t('hover.observations', count='%{customdata[1]}')}<extra></extra>",
            colorbar={"title": {"text": t(f"{measure.key}.short")}, "thickness": 10, "len": 0.95, "outlinewidth": 0},
            xgap=1,
            ygap=1,
        )
    )
    figure.update_layout(
        figures.layout(t("peaks.week", measure=t(f"{measure.key}.short"))),
        xaxis={**_hour_axis(zone, t), "showgrid": False},
        yaxis={"autorange": "reversed", "showgrid": False},
    )
    return figure


def peak_by_location(peaks: pd.DataFrame, measure: Measure, t: Texts) -> go.Figure:
    """Per location the average at peak and off-peak hours, joined by a line; the highest peak on top."""
    places = aggregates.peak_and_off_peak(peaks, measure)
    shown = places.head(figures.SHOWN)
    names = [formats.hover(name) for name in shown["location"]]
    figure = go.Figure(
        go.Scatter(
            x=[x for low, high in zip(shown["off_peak"], shown["peak"], strict=True) for x in (low, high, None)],
            y=[y for name in names for y in (name, name, None)],
            mode="lines",
            line={"color": theme.MUTED, "width": 2},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    for side, symbol, fill in (("off_peak", "circle-open", theme.MUTED), ("peak", "circle", measure.colour)):
        figure.add_trace(
            go.Scatter(
                x=shown[side],
                y=names,
                mode="markers",
                marker={"size": 13, "symbol": symbol, "color": fill, "line": {"width": 2.5, "color": fill}},
                customdata=[t.number(count) for count in shown[f"{side}_n"]],
                hovertemplate=f"<b>%{{y}}</b><br>{t(f'peaks.{side}')}: %{{x:.{measure.decimals}f}}<br>"
                f"{t('hover.observations', count='%{customdata}')}<extra></extra>",
                name=t(f"peaks.{side}"),
            )
        )
    title = t("peaks.locations", measure=t(f"{measure.key}.short"))
    figure.update_layout(
        figures.layout(
            title, figures.of_total(len(shown), len(places), t), height=130 + figures.ROW * max(len(shown), 3)
        ),
        xaxis={"title": {"text": figures.unit(measure, t)}, "gridcolor": theme.GRID},
        yaxis={"autorange": "reversed", "automargin": True, "gridcolor": theme.GRID},
        legend=figures.legend_below(),
    )
    return figure


def _hour_axis(zone: str, t: Texts) -> dict[str, Any]:
    hours = list(range(0, 24, 3))
    return {
        "title": {"text": t("peaks.hour", zone=formats.hover(zone))},
        "range": [-0.5, 23.5],
        "tickvals": hours,
        "ticktext": [f"{hour:02d}" for hour in hours],
        "showgrid": False,
        "fixedrange": True,
    }


def _value_axis(measure: Measure, t: Texts, averages: "pd.Series[float]") -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": figures.unit(measure, t)}, "gridcolor": theme.GRID, "fixedrange": True}
    if measure is TRAFFIC:
        return {**axis, "range": [0, 5.2], "dtick": 1}
    return {**axis, "range": [0, 1.12 * float(averages.max()) if len(averages) else 100]}


def _hour(hour: Any) -> str:
    return f"{int(hour):02d}:00–{(int(hour) + 1):02d}:00"


def _shade(figure: go.Figure, windows: Windows, t: Texts) -> None:
    """The configured peak windows behind the traces; hour h reaches from h - 0.5 to h + 0.5."""
    for window in windows:
        figure.add_vrect(
            x0=window.start_hour - 0.5,
            x1=window.end_hour - 0.5,
            fillcolor=theme.PEAK_SHADE,
            line_width=0,
            layer="below",
            annotation={"text": t("peaks.shade"), "font": {"color": theme.MUTED, "size": 11}},
            annotation_position="top left",
        )
