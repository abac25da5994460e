"""The batch layer's figures as the table of goals. Pure."""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.report import Row, ratios, with_spread

Collected = Mapping[str, Sequence[float]]


def goal_rows(figures: Collected) -> list[Row]:
    """A row for everything that was measured."""
    rows: list[Row] = []
    if "publish" in figures:
        rows += _backfill_rows(figures)
    if "memory.few" in figures:
        rows += _memory_rows(figures)
    rows += _lock_rows(figures)
    rows += _steady_rows(figures)
    rows += _reader_rows(figures)
    rows += _beside_rows(figures)
    rows += _years_rows(figures)
    return rows


def notes(figures: Collected) -> list[str]:
    """What has to be said with the figures."""
    found = []
    if "publish.cpu" in figures:
        ours, same = (statistics.median(figures[name]) for name in ("publish.cpu", "bare.same.cpu"))
        keyed, once = (statistics.median(figures[name]) for name in ("bare.keyed.cpu", "bare.once.cpu"))
        found.append(
            f"Processor time of the backfill: publish {ours:,.1f} s "
            f"({figures_median(figures, 'publish.own_cpu'):,.1f} s of it Python), bare hour by hour {same:,.1f} s with "
            f"our indexes and {keyed:,.1f} s with one key, in one statement {once:,.1f} s, "
            f"first system {figures_median(figures, 'first.cpu'):,.0f} s."
        )
    if "steady.cpu" in figures:
        found.append(
            "The steady hour's work: "
            + ", ".join(
                f"{what} {figures_median(figures, f'steady.{name}'):.2f} s"
                for name, what in {
                    "store": "read Kafka and store",
                    "publish": "publish",
                    "days": "tables of the day",
                }.items()
            )
            + f"; processor time {figures_median(figures, 'steady.cpu'):.2f} s."
        )
    if "readers.own" in figures:
        lag = max(int(name.split(".")[1]) for name in figures if name.startswith("readers.") and name.endswith(".1"))
        found.append(
            f"One reader of {lag:,} records takes {figures_median(figures, 'readers.own'):.1f} s of processor time in "
            f"Python and {figures_median(figures, 'readers.server'):.1f} s in PostgreSQL; it holds the locks that it "
            f"stores under for {figures_median(figures, 'readers.locked'):.1f} s."
        )
    return found


def figures_median(figures: Collected, name: str) -> float:
    """The median over the rounds."""
    return statistics.median(figures[name])


def _backfill_rows(figures: Collected) -> list[Row]:
    what = "publish of {:,.0f} raw rows".format(figures["publish.rows"][0])
    rows = [
        _against(figures, f"{what}, against bare SQL hour by hour with the same indexes", "bare.same", 1.3),
        _against(figures, f"{what}, against bare SQL hour by hour with one key", "bare.keyed"),
        _against(figures, f"{what}, against bare SQL in one statement with the same indexes", "bare.once"),
    ]
    faster = [1 / ratio for ratio in ratios(figures["publish"], figures["first"])]
    ratio = statistics.median(faster)
    first = Row(
        f"{what}, against the first system's SQL", with_spread(figures["publish"], " s", 1),
        with_spread(figures["first"], " s, extrapolated"), f"{ratio:.1f} times as fast", "15 times or more",
        ratio >= 15,
    )  # fmt: skip
    return [*rows, first]


def _against(figures: Collected, what: str, beside: str, goal: float | None = None) -> Row:
    ratio = statistics.median(ratios(figures["publish"], figures[beside]))
    return Row(
        what,
        with_spread(figures["publish"], " s", 1),
        with_spread(figures[beside], " s", 1),
        f"{ratio:.2f}",
        f"{goal:g} or less" if goal else "",
        ratio <= goal if goal else None,
    )


def _memory_rows(figures: Collected) -> list[Row]:
    rows = []
    for name, what in {
        "memory": "memory of the publishing process",
        "memory.backend": "of its PostgreSQL backend",
    }.items():
        few, many = figures[f"{name}.few"], figures[f"{name}.many"]
        ratio = statistics.median(ratios(many, few))
        rows.append(
            Row(
                f"{what}, {figures['memory.hours'][0]:.0f} hours",
                with_spread(many, " MiB"),
                f"a quarter of the hours: {with_spread(few, ' MiB')}",
                f"{ratio:.2f}",
                "flat: 1.1 or less",
                ratio <= 1.1,
            )
        )
    return rows


_LOCKS = {
    "lock.backfill.median": "lock held by a swap of the backfill, median",
    "lock.backfill.max": "lock held by a swap of the backfill, longest",
    "lock.empty": "lock held, nothing of the hour in the speed layer",
    "lock.again": "lock held, published again with a tenth of the places changed",
    "lock.full": "lock held, all of the hour in the speed layer",
    "lock.checkpoint": "lock held, all of the hour in the speed layer, first after a checkpoint",
    "steady.lock": "lock held in the steady hour",
}


def _lock_rows(figures: Collected) -> list[Row]:
    return [
        Row(what, with_spread(figures[name], " ms"), "", "", "under 500 ms (200)", max(figures[name]) < 500)
        for name, what in _LOCKS.items()
        if name in figures
    ]


def _steady_rows(figures: Collected) -> list[Row]:
    rows = []
    for name, what, goal in (
        ("steady.work", "steady hour of 120,000 records, its work", 1.5),
        ("steady.dagster", "steady hour of 120,000 records, a run worker's process from start to end", 7.0),
    ):
        if name in figures:
            seconds = figures_median(figures, name)
            beside = f"steps alone {with_spread(figures['steady.steps'], ' s', 1)}" if name == "steady.dagster" else ""
            rows.append(Row(what, with_spread(figures[name], " s", 2), beside, "", f"under {goal:g} s", seconds < goal))
    return rows


def _reader_rows(figures: Collected) -> list[Row]:
    rows = []
    for lag in sorted(
        int(name.split(".")[1]) for name in figures if name.startswith("readers.") and name.endswith(".2")
    ):
        one, two = figures[f"readers.{lag}.1"], figures[f"readers.{lag}.2"]
        ratio = statistics.median(ratios(one, two))
        rows.append(
            Row(
                f"{lag:,} records of the log into raw_data, two readers against one", with_spread(two, " s", 2),
                with_spread(one, " s", 2), f"{ratio:.2f} times as fast",
            )
        )  # fmt: skip
    return rows


def _beside_rows(figures: Collected) -> list[Row]:
    rows = []
    for name, what in {
        "beside.publish": "speed daemon in a flood beside a publish, against alone",
        "beside.bare": "speed daemon in a flood beside a bare aggregation, against alone",
    }.items():
        if name in figures:
            ratio = statistics.median(ratios(figures[name], figures["beside.alone"]))
            goal = ("0.8 or more", ratio >= 0.8) if name == "beside.publish" else ("", None)
            rows.append(
                Row(what, with_spread(figures[name]), with_spread(figures["beside.alone"]), f"{ratio:.2f}", *goal)
            )
    return rows


def _years_rows(figures: Collected) -> list[Row]:
    spans = sorted(int(name.split(".")[1]) for name in figures if name.startswith("years.") and name.endswith(".mib"))
    rows = []
    for days in spans:
        at = f"years.{days}"
        work = figures_median(figures, f"{at}.work")
        rows.append(
            Row(
                f"backfill of {days:,} days ({days * 24:,} hours) through Dagster",
                with_spread(figures[f"{at}.seconds"], " s", 1),
                f"its work {work:.1f} s, the rest Dagster's",
            )
        )
    if len(spans) > 1:
        few, many = figures[f"years.{spans[0]}.mib"], figures[f"years.{spans[-1]}.mib"]
        ratio = statistics.median(ratios(many, few))
        rows.append(
            Row(
                f"memory of the backfill of {spans[-1]:,} days, Dagster's events included",
                with_spread(many, " MiB"),
                f"{spans[0]:,} days: {with_spread(few, ' MiB')}",
                f"{ratio:.2f}",
                "flat: 1.1 or less",
                ratio <= 1.1,
            )
        )
    return rows
