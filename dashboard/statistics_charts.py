"""Charts of a range as a whole: a CITY_HOURLY, DISTRIBUTION or STATISTICS frame in, a Plotly figure out.

Traffic is the average level (1 free to 5 jammed), AQI the average US EPA index. Outside text is escaped.
"""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard import aggregates, figures, formats, theme
from dashboard.measures import AQI, TRAFFIC, Measure
from dashboard.texts import Texts
from lambda_pipeline.domain.city_time import CityClock


def distribution(shares: pd.DataFrame, measure: Measure, t: Texts) -> go.Figure:
    """Bars of how many hours (one at one location) fell into each band of `measure`, from a DISTRIBUTION frame."""
    counts = shares[shares["measure"] == measure.key].set_index("band")["hours"]
    bands = measure.bands(t)
    numbers = [int(counts.get(band.key, 0)) for band in bands]
    total = max(sum(numbers), 1)
    figure = go.Figure(
        go.Bar(
            x=numbers,
            y=[band.wrapped for band in bands],
            orientation="h",
            marker={"color": [band.colour for band in bands], "line": figures.OUTLINED},
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
    return figure.update_layout(
        figures.layout(t, title, t("statistics.hours.of", count=t.number(sum(numbers)))),
        xaxis={
            "title": {"text": t("statistics.hours")},
            "gridcolor": theme.GRID,
            "range": [0, 1.25 * max([*numbers, 1])],
            "nticks": 5,
            "tickformat": ",d",
            "fixedrange": True,
        },
        yaxis={"autorange": "reversed", "automargin": True, "fixedrange": True},
        showlegend=False,
    )


def trend(hours: pd.DataFrame, clock: CityClock, t: Texts) -> go.Figure:
    """City averages of both measures over the range, one above the other on one time axis (city time).

    By hour, or by day over a long range; where nothing was observed, the line has a gap.
    """
    is_daily = aggregates.is_daily_trend(hours)
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.09)
    for row, measure in ((1, TRAFFIC), (2, AQI)):
        line = aggregates.trend(hours, measure, clock, is_daily)
        labels = [formats.day(at, t) if is_daily else formats.hour(at, clock, t) for at in line["start"]]
        figure.add_trace(
            go.Scatter(
                x=line["at"],
                y=line["average"],
                mode="lines+markers",
                marker={"size": 5 if is_daily else 3},  # an hour between two gaps has no line
                line={"color": measure.colour, "width": 2},
                customdata=[[label, t.number(n)] for label, n in zip(labels, line["observations"], strict=True)],
                hovertemplate=f"<b>%{{customdata[0]}}</b><br>{t(measure.key)}: %{{y:.{measure.decimals}f}}<br>"
                f"{t('hover.observations', count='%{customdata[1]}')}<extra></extra>",
                name=t(measure.key),
                connectgaps=False,
            ),
            row=row,
            col=1,
        )
        figure.update_yaxes(title={"text": figures.unit(measure, t)}, gridcolor=theme.GRID, row=row, col=1)
    figure.update_yaxes(range=[1, 5], dtick=1, row=1, col=1)
    figure.update_yaxes(rangemode="tozero", row=2, col=1)
    figure.update_xaxes(showgrid=False, **_date_ticks(hours, t))
    step = t("statistics.step.day" if is_daily else "statistics.step.hour")
    count = t.number(int(hours["data_points_count"].sum()))
    return figure.update_layout(
        figures.layout(t, t("statistics.trend", step=step), t("statistics.trend.gaps", count=count), height=440),
        showlegend=False,
    )


def ranking(statistics: pd.DataFrame, measure: Measure, is_lowest: bool, t: Texts) -> go.Figure:
    """STATISTICS' locations by average of `measure`, the highest or the lowest first, with the value on each bar."""
    places = statistics[statistics["location"].notna() & statistics[measure.mean].notna()]
    places = places.sort_values([measure.mean, "location"], ascending=[is_lowest, True])
    shown = places.head(figures.SHOWN)
    names = [formats.hover(name) for name in shown["location"]]
    bands = [measure.band_of(value, t) for value in shown[measure.mean]]
    figure = go.Figure(
        go.Bar(
            x=shown[measure.mean],
            y=names,
            orientation="h",
            marker={"color": [band.colour for band in bands], "line": figures.OUTLINED},
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
    title = t(f"statistics.ranking.{measure.key}")
    return figure.update_layout(
        figures.layout(t, title, _of_total(len(shown), len(places), is_lowest, t), figures.rows_height(len(shown))),
        xaxis={"title": {"text": figures.unit(measure, t)}, "gridcolor": theme.GRID, "rangemode": "tozero"}
        | {"fixedrange": True},
        yaxis=figures.places_axis(names),
        showlegend=False,
    )


def completeness(statistics: pd.DataFrame, t: Texts) -> go.Figure:
    """Per location of a STATISTICS frame what was received as a share of what was expected (%), the worst first."""
    places = aggregates.completeness(statistics)
    shown = places.head(figures.SHOWN)
    names = [formats.hover(name) for name in shown["location"]]
    figure = go.Figure(
        go.Bar(
            x=100 * shown["share"],
            y=names,
            orientation="h",
            marker={"color": theme.TRAFFIC, "opacity": 0.85},
            text=[t.percent(share) for share in shown["share"]],
            textposition="auto",
            insidetextanchor="end",
            customdata=[
                t("statistics.of_expected", count=t.number(received), expected=t.number(expected))
                for received, expected in zip(shown["received"], shown["expected"], strict=True)
            ],
            hovertemplate="<b>%{y}</b><br>%{customdata}<extra></extra>",
        )
    )
    note = t("statistics.complete.note")
    if len(shown) < len(places):
        note += " · " + t("statistics.complete.shown", shown=t.number(len(shown)), total=t.number(len(places)))
    return figure.update_layout(
        figures.layout(t, t("statistics.complete"), note, figures.rows_height(len(shown))),
        xaxis={"title": {"text": t("statistics.complete.axis")}, "gridcolor": theme.GRID, "range": [0, 100]}
        | {"ticksuffix": " %", "fixedrange": True},
        yaxis=figures.places_axis(names),
        showlegend=False,
    )


def _of_total(shown: int, total: int, is_lowest: bool, t: Texts) -> str:
    if shown == total:
        return ""
    return t("statistics.lowest" if is_lowest else "peaks.shown", shown=t.number(shown), total=t.number(total))


def _date_ticks(hours: pd.DataFrame, t: Texts) -> dict[str, Any]:
    """At most eight days, written in the page's language; Plotly's own are English."""
    if not len(hours):
        return {}
    days = pd.date_range(hours["date"].min(), hours["date"].max(), freq="D")
    shown = days[:: max(1, -(-len(days) // 8))]
    return {
        "tickvals": list(shown),
        "ticktext": [t("day", day=day.day, month=t(f"month.{day.month}")) for day in shown],
    }
