"""The serving layer's figures as the table of goals. Pure."""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.report import Row, ratios
from benchmarks.serving.reads import Read

Collected = Mapping[str, Sequence[float]]


def goal_rows(figures: Collected, reads: Mapping[str, Read]) -> list[Row]:
    """A row for every read that was measured."""
    return [_row(figures, name, read) for name, read in reads.items() if f"{name}.p50" in figures]


def notes(figures: Collected, reads: Mapping[str, Read]) -> list[str]:
    """What the same costs from the hourly rows."""
    found = []
    for name, read in reads.items():
        if f"{name}.naive" in figures:
            naive = statistics.median(figures[f"{name}.naive"])
            faster = statistics.median(ratios(figures[f"{name}.naive"], figures[f"{name}.p50"]))
            found.append(f"{read.what} by {naive / 1000:,.1f} s from the hourly rows, {faster:,.0f} times as long")
    return [f"The naive way beside: {'; '.join(found)}."] if found else []


def _row(figures: Collected, name: str, read: Read) -> Row:
    p50, p95, alone = (statistics.median(figures[f"{name}.{figure}"]) for figure in ("p50", "p95", "alone.p50"))
    ratio = statistics.median(ratios(figures[f"{name}.p50"], figures[f"{name}.alone.p50"]))
    return Row(
        read.what,
        f"p50 {p50:,.1f} ms, p95 {p95:,.1f} ms",
        f"its statement alone: {alone:,.1f} ms",
        f"{ratio:.2f}",
        f"p95 under {read.goal:g} ms" if read.goal else "",
        p95 < read.goal if read.goal else None,
    )
