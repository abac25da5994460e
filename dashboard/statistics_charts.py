"""Charts of a range as a whole: an HOURLY or a STATISTICS frame in, a Plotly figure out.

Traffic is the average level (1 free to 5 jammed), AQI the average US EPA index. Outside text is escaped.
"""

from collections import Counter
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard import aggregates, figures, formats, theme
from dashboard.measures import AQI, TRAFFIC, Measure
from dashboard.texts import Texts
from lambda_pipeline.domain.city_time import CityClock


def distribution(hourly: pd.DataFrame, measure: Measure, t: Texts) -> go.Figure:
    """Bars of how many hours (one at one location) fell into each band of `measure`, by the hour's average."""
    values = hourly.loc[hourly[measure.mean].notna(), measure.mean]
    counts = Counter(measure.band_of(float(value), t).key for value in values)
    bands, total = measure.bands(t), max(len(values), 1)
    numbers = [counts[band.key] for band in bands]
    figure = go.Figure(
        go.Bar(
            x=numbers,
            y=[band.wrapped for band in bands],
            orientation="h",
            marker={"color": [band.colour for band in bands], "line": {"color": theme.OUTLINE, "width": 1}},
            text=[t.percent(number / total) for number in numbers],
            textposition="outside",
            cliponaxis=False,
            customdata=[
                t("statistics.hours.hover", count=t.number(number), share=t.percent(number / total))
                for number in numbers
            ],
            hovertemplate="<b>%{y}</b><br>%{customdata}<extra></extra>",
        )
    )
    title = t("statistics.traffic_levels" if measure is TRAFFIC else "statistics.aqi_categories")
    figure.update_layout(
        figures.layout(title),
        xaxis={
            "title": {"text": t("statistics.hours")},
            "gridcolor": theme.GRID,
            "range": [0, 1.25 * max([*numbers, 1])],
        },
        yaxis={"autorange": "reversed", "automargin": True},
        showlegend=False,
    )
    return figure


def trend(hourly: pd.DataFrame, clock: CityClock, t: Texts) -> go.Figure:
    """City averages of both measures over the range, one above the other on one time axis (city time)."""
    is_daily = aggregates.is_daily_trend(hourly)
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.09)
    for row, measure in ((1, TRAFFIC), (2, AQI)):
        line = aggregates.trend(hourly, measure, clock, is_daily)
        figure.add_trace(
            go.Scatter(
                x=line["at"],
                y=line["average"],
                mode="lines",
                line={"color": measure.colour, "width": 2},
                fill="tozeroy",
                fillcolor=theme.with_alpha(measure.colour, 0.1),
                customdata=[[label, t.number(n)] for label, n in zip(line["label"], line["observations"], strict=True)],
                hovertemplate=f"<b>%{{customdata[0]}}</b><br>{t(measure.key)}: %{{y:.{measure.decimals}f}}<br>"
                f"{t('hover.observations', count='%{customdata[1]}')}<extra></extra>",
                name=t(measure.key),
            ),
            row=row,
            col=1,
        )
        figure.update_yaxes(title={"text": t(f"{measure.key}.short")}, gridcolor=theme.GRID, row=row, col=1)
    figure.update_yaxes(range=[1, 5], dtick=1, row=1, col=1)
    figure.update_yaxes(rangemode="tozero", row=2, col=1)
    figure.update_xaxes(showgrid=False)
    step = t("statistics.step.day" if is_daily else "statistics.step.hour")
    figure.update_layout(figures.layout(t("statistics.trend", step=step), height=420), showlegend=False)
    return figure


def ranking(statistics: pd.DataFrame, measure: Measure, t: Texts) -> go.Figure:
    """STATISTICS' locations by average of `measure`, the highest first, with the value on each bar."""
    places = statistics[statistics["location"].notna() & statistics[measure.mean].notna()]
    places = places.sort_values([measure.mean, "location"], ascending=[False, True])
    shown = places.head(figures.SHOWN)
    bands = [measure.band_of(value, t) for value in shown[measure.mean]]
    figure = go.Figure(
        go.Bar(
            x=shown[measure.mean],
            y=[formats.hover(name) for name in shown["location"]],
            orientation="h",
            marker={"color": [band.colour for band in bands], "line": {"color": theme.OUTLINE, "width": 1}},
            text=[t.number(value, measure.decimals) for value in shown[measure.mean]],
            textposition="inside",
            insidetextanchor="end",
            textfont={"color": [theme.ink_on(band.colour) for band in bands]},
            customdata=[
                [formats.hover(band.label), t.number(n)] for band, n in zip(bands, shown[measure.count], strict=True)
            ],
            hovertemplate=f"<b>%{{y}}</b><br>{t(measure.key)}: %{{x:.{measure.decimals}f}} (%{{customdata[0]}})<br>"
            f"{t('hover.observations', count='%{customdata[1]}')}<extra></extra>",
        )
    )
    title = t("statistics.ranking", measure=t(f"{measure.key}.short"))
    figure.update_layout(
        figures.layout(
            title, figures.of_total(len(shown), len(places), t), height=110 + figures.ROW * max(len(shown), 3)
        ),
        xaxis={"title": {"text": figures.unit(measure, t)}, "gridcolor": theme.GRID, "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "automargin": True},
        showlegend=False,
    )
    return figure


def completeness(hourly: pd.DataFrame, t: Texts) -> go.Figure:
    """Per location of an HOURLY frame the observations received as a share of those expected (%), the worst first."""
    places = aggregates.completeness(hourly)
    shown = places.head(figures.SHOWN)
    figure = go.Figure(
        go.Bar(
            x=100 * shown["share"],
            y=[formats.hover(name) for name in shown["location"]],
            orientation="h",
            marker={"color": theme.TRAFFIC, "opacity": 0.85},
            text=[t.percent(share) for share in shown["share"]],
            textposition="inside",
            insidetextanchor="end",
            textfont={"color": "#ffffff"},
            customdata=[
                t("statistics.of_expected", count=t.number(received), expected=t.number(expected))
                for received, expected in zip(shown["received"], shown["expected"], strict=True)
            ],
            hovertemplate="<b>%{y}</b><br>%{customdata}<extra></extra>",
        )
    )
    figure.update_layout(
        figures.layout(
            t("statistics.complete"),
            figures.of_total(len(shown), len(places), t),
            height=110 + figures.ROW * max(len(shown), 3),
        ),
        xaxis=_share_axis(shown["share"], t),
        yaxis={"autorange": "reversed", "automargin": True},
        showlegend=False,
    )
    return figure


def _share_axis(shares: "pd.Series[float]", t: Texts) -> dict[str, Any]:
    top = max(100.0, 100 * float(shares.max())) if len(shares) else 100.0
    return {
        "title": {"text": t("statistics.complete.axis")},
        "gridcolor": theme.GRID,
        "range": [0, top],
        "ticksuffix": " %",
    }
