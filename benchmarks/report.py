"""Figures to tables: percentiles, medians, ratios, Markdown, and a table's place in a page. Pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table. `met` is whether the goal is reached; None where there is none."""

    what: str
    measured: str
    beside: str = ""
    ratio: str = ""
    goal: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Table:
    """A table with its heading and what has to be said below it."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed: no interpolation."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def with_spread(values: Sequence[float], unit: str = "/s", digits: int = 0) -> str:
    """The median, and in parentheses the lowest and the highest where there are several runs."""
    shown = f"{statistics.median(values):,.{digits}f}{unit}"
    if len(values) == 1:
        return shown
    return f"{shown} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Run by run, since what disturbs the machine disturbs both sides of a run."""
    return [first / second for first, second in zip(ours, theirs, strict=False)]


def summary_table(rows: Sequence[Row]) -> Table:
    """The table of goals."""
    verdicts = {True: "yes", False: "**no**", None: ""}
    return Table(
        "Goals",
        ("what", "measured", "beside", "ratio", "to reach", "reached"),
        tuple((row.what, row.measured, row.beside, row.ratio, row.goal, verdicts[row.met]) for row in rows),
    )


def markdown(table: Table) -> str:
    """A Markdown table under a heading of the third level."""
    lines = [f"### {table.heading}", ""]
    lines += [_line(table.columns), _line(["---"] * len(table.columns)), *map(_line, table.rows)]
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def plain(table: Table) -> str:
    """The same for a terminal, in aligned columns."""
    widths = [max(len(row[at]) for row in (table.columns, *table.rows)) for at in range(len(table.columns))]
    lines = [table.heading]
    for row in (table.columns, *table.rows):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join([*lines, *table.notes]) + "\n"


def replace_between(page: str, name: str, text: str) -> str:
    """The page with whatever stands between the two markers of this name replaced. Raises ValueError without them."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"the page needs one {begin} and, after it, one {end}.")
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{text.strip()}\n{end}{tail}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
