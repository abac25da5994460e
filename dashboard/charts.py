"""Charts of hours and weeks: a CITY_HOURLY frame in, a Plotly figure out.

Traffic is the average level (1 free to 5 jammed), AQI the average US EPA index; hours are the city's. Hover cards
name the observations behind every average. Outside text is escaped, since Plotly reads pseudo-HTML.
"""

import math

import pandas as pd
import plotly.graph_objects as go

from dashboard import aggregates, figures, formats, theme
from dashboard.measures import AQI, TRAFFIC, Measure
from dashboard.texts import Texts
from lambda_pipeline.domain.peak_hours import PeakWindow

Windows = tuple[PeakWindow, ...]


def by_hour(hours: pd.DataFrame, measure: Measure, windows: Windows, zone: str, t: Texts) -> go.Figure:
    """Bars of the average of `measure` per hour of the day, in its bands' colours, peak windows shaded."""
    means = aggregates.by_hour(hours, measure)
    bands = [measure.band_of(value, t) for value in means["average"]]
    columns = (means["hour"], means["average"], means["observations"], bands)
    figure = go.Figure(
        go.Bar(
            x=means["hour"],
            y=means["average"],
            marker={"color": [band.colour for band in bands], "line": figures.OUTLINED},
            customdata=[
                [figures.hour_name(hour), t.number(value, measure.decimals), formats.hover(band.label), t.number(n)]
                for hour, value, n, band in zip(*columns, strict=True)
            ],
            hovertemplate=f"<b>%{{customdata[0]}}</b><br>{t(measure.key)}: %{{customdata[1]}} (%{{customdata[2]}})<br>"
            f"{t('hover.observations', count='%{customdata[3]}')}<extra></extra>",
            name=t(measure.key),
        )
    )
    figures.shade(figure, windows, t)
    return figure.update_layout(
        figures.layout(t, t(f"peaks.{measure.key}_by_hour"), _observations(int(means["observations"].sum()), t)),
        xaxis=figures.hour_axis(zone, t),
        yaxis=figures.value_axis(measure, t, list(means["average"])),
        bargap=0.18,
        showlegend=False,
    )


def combined(hours: pd.DataFrame, windows: Windows, zone: str, t: Texts) -> go.Figure:
    """Both measures by hour, each on its own axis: traffic level always 1 to 5, AQI always from 0, one shared grid."""
    figure, highest = go.Figure(), 0.0
    for measure, axis, dash in ((TRAFFIC, "y", "solid"), (AQI, "y2", "dot")):
        means = aggregates.by_hour(hours, measure).set_index("hour").reindex(range(24))
        highest = float(means["average"].max())  # of AQI, the last
        figure.add_trace(
            go.Scatter(
                x=list(range(24)),
                y=means["average"],
                yaxis=axis,
                mode="lines+markers",
                line={"color": measure.colour, "width": 3, "dash": dash},
                marker={"size": 7, "symbol": "circle" if measure is TRAFFIC else "diamond"},
                customdata=[t.number(n) for n in means["observations"]],
                hovertemplate=f"{t(measure.key)}: %{{y:.{measure.decimals}f}} "
                f"({t('hover.observations', count='%{customdata}')})<extra></extra>",
                name=figures.unit(measure, t),
                connectgaps=False,
            )
        )
    figures.shade(figure, windows, t)
    top = 200 if math.isnan(highest) else max(100, 100 * math.ceil(highest / 100))
    left, right = ({"color": measure.colour} for measure in (TRAFFIC, AQI))  # the axis in its line's colour
    figure.update_layout(
        figures.layout(t, t("peaks.combined"), t("peaks.combined.axes")),
        xaxis=figures.hour_axis(zone, t) | {"hoverformat": ":00"},
        yaxis={
            "title": {"text": figures.unit(TRAFFIC, t), "font": left},
            "range": [1, 5],
            "dtick": 1,
            "gridcolor": theme.GRID,
            "fixedrange": True,
        },
        yaxis2={
            "title": {"text": figures.unit(AQI, t), "font": right},
            "range": [0, top],
            "dtick": top / 4,  # four steps on either axis: one grid serves both
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
            "fixedrange": True,
        },
        hovermode="x unified",
    )
    return figures.legend_below(figure)


def weekday_and_weekend(hours: pd.DataFrame, measure: Measure, windows: Windows, zone: str, t: Texts) -> go.Figure:
    """The average weekday beside the average weekend day, by hour."""
    means, figure = aggregates.by_kind_of_day(hours, measure), go.Figure()
    days = hours[hours[measure.count] > 0].groupby("is_weekend")["date"].nunique()
    for is_weekend, dash, symbol in ((False, "solid", "circle"), (True, "dash", "square-open")):
        part = means[means["is_weekend"] == is_weekend].set_index("hour").reindex(range(24))
        key = "peaks.weekend" if is_weekend else "peaks.weekday"
        figure.add_trace(
            go.Scatter(
                x=list(range(24)),
                y=part["average"],
                mode="lines+markers",
                line={"color": theme.MUTED if is_weekend else measure.colour, "width": 3, "dash": dash},
                marker={"size": 8, "symbol": symbol},
                customdata=[[figures.hour_name(hour), t.number(n)] for hour, n in part["observations"].items()],
                hovertemplate=f"<b>{t(key)}, %{{customdata[0]}}</b><br>"
                f"{t(measure.key)}: %{{y:.{measure.decimals}f}}<br>"
                f"{t('hover.observations', count='%{customdata[1]}')}<extra></extra>",
                name=t("peaks.days", kind=t(key), count=t.number(int(days.get(is_weekend, 0)))),
                connectgaps=False,
            )
        )
    figures.shade(figure, windows, t)
    axis = figures.value_axis(measure, t, list(means["average"]))
    figure.update_layout(
        figures.layout(
            t,
            t("peaks.kinds", measure=t(f"{measure.key}.short")),
            _observations(int(means["observations"].sum()), t),
        ),
        xaxis=figures.hour_axis(zone, t),
        yaxis=axis | {"range": [1, 5]} if measure is TRAFFIC else axis,
    )
    return figures.legend_below(figure)


def week(hours: pd.DataFrame, measure: Measure, zone: str, t: Texts) -> go.Figure:
    """Heatmap of the average of `measure` by city hour and weekday; empty cells have no observation."""
    averages, counts = aggregates.by_weekday_and_hour(hours, measure)
    figure = go.Figure(
        go.Heatmap(
            z=averages.to_numpy(),
            x=list(range(24)),
            y=[t(f"weekday.{day}") for day in range(7)],
            customdata=[
                [[figures.hour_name(hour), t.number(counts.loc[day, hour])] for hour in range(24)] for day in range(7)
            ],
            colorscale=[list(step) for step in measure.scale],
            hoverongaps=False,
            hovertemplate=f"<b>%{{y}} %{{customdata[0]}}</b><br>{t(measure.key)}: %{{z:.{measure.decimals}f}}<br>"
            f"{t('hover.observations', count='%{customdata[1]}')}<extra></extra>",
            colorbar={"title": {"text": t(f"{measure.key}.short")}, "thickness": 10, "len": 0.95, "outlinewidth": 0},
            xgap=1,
            ygap=1,
        )
    )
    return figure.update_layout(
        figures.layout(
            t, t("peaks.week", measure=t(f"{measure.key}.short")), _observations(int(counts.sum().sum()), t)
        ),
        xaxis=figures.hour_axis(zone, t),
        yaxis={"autorange": "reversed", "showgrid": False, "title": {"text": t("peaks.weekday.axis")}},
    )


def _observations(count: int, t: Texts) -> str:
    return t("peaks.from", count=t.number(count))
