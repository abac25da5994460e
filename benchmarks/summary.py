"""The figures as the table of goals, and the profile as tables of where the time goes. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks.profile import DECOMPRESS, KAFKA, WAIT, Profile
from benchmarks.report import Row, Table, ratios, with_spread

Collected = Mapping[str, Sequence[float]]
GUARANTEE = (
    "exactly once, aggregates and latest values kept in the same commit, dead letters kept, published observations "
    "left out"
)
QUIX_GUARANTEE = "at least once; a row repeated at the key is dropped; no aggregates, no dead letters"


def goal_rows(figures: Collected) -> list[Row]:
    """A row for everything that was measured."""
    rows = []
    if "flood" in figures:
        rows += _flood_rows(figures)
    if {"flood", "first"} <= figures.keys():
        way = "one daemon against the first system's way"
        rows.append(_beside(figures, f"{way}, a connection a message", "flood", "first", 100))
        rows.append(_beside(figures, f"{way}, with a pool", "flood", "first.pooled"))
    if {"flood", "copy"} <= figures.keys():
        rows.append(_beside(figures, "one daemon against a plain COPY, 2,000 a commit", "flood", "copy", 0.25))
        rows.append(_beside(figures, "its commit alone against the same COPY, 2,000 a commit", "commit", "copy", 0.25))
    if {"commit.flood", "copy"} <= figures.keys():
        rows.append(_beside(figures, "its commit alone by as many as in a flood, same COPY", "commit.flood", "copy"))
    for name in ("default", "tuned"):
        if {"flood", f"quix.{name}"} <= figures.keys():
            row = _beside(figures, f"one daemon against quixstreams' sink, {name}", "flood", f"quix.{name}", 1)
            rows.append(replace(row, measured=f"{row.measured}, exactly once", beside=f"{row.beside}, at least once"))
    if {"flood", "two"} <= figures.keys():
        rows.append(_beside(figures, "two daemons against one", "two", "flood"))
    if {"flood", "four"} <= figures.keys():
        rows.append(_beside(figures, "four daemons against one", "four", "flood"))
    rows += _filled_rows(figures)
    rows += _client_rows(figures)
    rows += _latency_rows(figures)
    return rows


def notes(figures: Collected) -> list[str]:
    """What has to be said with the figures."""
    found = []
    if "flood.cores.daemon" in figures:
        cores = ", ".join(
            f"{name} {statistics.median(figures[f'flood.cores.{name}']):.2f}"
            for name in ("daemon", "postgres", "kafka")
        )
        found.append(f"Cores taken during the flood: {cores}.")
    lost = [
        f"{statistics.median(figures[key]) - 0.05:.0%} with its {name} settings"
        for name in ("default", "tuned")
        if (key := f"quix.{name}.without_aqi") in figures
    ]
    if lost:
        found.append(
            f"Guarantees. Ours: {GUARANTEE}. quixstreams' sink: {QUIX_GUARANTEE}. It takes a batch's columns from the "
            "batch's first row, so that a measure that is null there, and therefore not among its fields, is stored as "
            f"null for the whole batch; rows whose AQI was lost: {', '.join(lost)}."
        )
    return found


def client_note(figures: Collected, profile: Profile | None) -> list[str]:
    """What a C client would gain at most, from the shares of the daemon's two threads."""
    if profile is None or not {"client.c", "client.python"} <= figures.keys():
        return []
    main, committer = _thread(profile, "MainThread"), _thread(profile, "committer")
    if not main or not committer:
        return []
    faster = statistics.median(figures["client.c"]) / statistics.median(figures["client.python"])
    share = main.get(KAFKA, 0.0) + main.get(DECOMPRESS, 0.0)
    idle = sum(share for kind, share in committer.items() if kind.startswith(f"{WAIT} for a batch"))
    by_fetching = 1 / (1 - share * max(0.0, 1 - 1 / faster)) - 1
    by_committing = 1 / (1 - min(idle, 0.99)) - 1
    return [
        f"A C client hands records over {faster:.1f} times as fast. kafka-python takes {share:.0%} of the main thread, "
        f"which would be {by_fetching:.0%} faster with it; the thread that commits waits for a batch {idle:.0%} of its "
        f"time, so it has room for {by_committing:.0%}. The daemon would gain the smaller of the two at most: "
        f"{min(by_fetching, by_committing):.0%}."
    ]


def profile_tables(profile: Profile) -> list[Table]:
    """Where a batch's time goes: by statement on the server, and by kind of work in each of the daemon's threads."""
    wall, commits = profile.flood.seconds * 1000, max(1, profile.commits)
    statements = tuple(
        (f"`{name}`", f"{total / commits:.2f}", f"{total / wall:.1%}", f"{calls / commits:.1f}")
        for name, (total, calls) in profile.statements.items()
        if total / wall >= 0.0005
    )
    on_server = sum(total for total, _ in profile.statements.values())
    tables = [
        Table(
            "Where a commit's time goes, in PostgreSQL",
            ("statement", "ms a commit", "of the run", "calls a commit"),
            statements,
            (
                f"From PostgreSQL's statement log of a run of its own at {profile.flood.rate:,.0f}/s: {commits:,} "
                f"commits of {profile.flood.records / commits:,.0f} observations, {wall / commits:.1f} ms each; "
                f"statements take {on_server / wall:.0%} of the run. COPY includes waiting for the daemon's rows.",
            ),
        )
    ]
    if profile.threads:
        rows = tuple(
            (thread.split(": ", 1)[-1], kind, f"{share:.1%}")
            for thread, kinds in profile.threads.items()
            for kind, share in kinds.items()
            if share >= 0.005
        )
        tables.append(
            Table(
                "Where the daemon's time goes, by thread",
                ("thread", "kind", "of its wall time"),
                rows,
                ("From py-spy's samples of the same run, by the innermost frame that says what is done.",),
            )
        )
    return tables


def _thread(profile: Profile, name: str) -> dict[str, float]:
    """The shares of the thread of this name; none without py-spy."""
    return next((kinds for thread, kinds in profile.threads.items() if thread.endswith(f": {name}")), {})


def _flood_rows(figures: Collected) -> list[Row]:
    rate, memory = statistics.median(figures["flood"]), max(figures["flood.memory"])
    goal = "60,000/s; under 35,000 is not done"
    return [
        Row("one daemon, consumed to committed", with_spread(figures["flood"]), "", "", goal, rate >= 60_000),
        Row(
            "memory of the daemon under flood, highest",
            f"{memory:,.0f} MiB",
            f"{statistics.median(figures['flood.growth']):+.1f} MiB from the first to the last third",
            "",
            "under 300 MiB",
            memory < 300,
        ),
    ]


def _beside(figures: Collected, what: str, ours: str, theirs: str, goal: float | None = None) -> Row:
    found = ratios(figures[ours], figures[theirs])
    ratio = statistics.median(found)
    return Row(
        what,
        with_spread(figures[ours]),
        with_spread(figures[theirs]),
        f"{ratio:,.2f}" if ratio < 10 else f"{ratio:,.0f}",
        "" if goal is None else "ahead" if goal == 1 else f"{goal:g} or more",
        None if goal is None else ratio >= goal,
    )


def _filled_rows(figures: Collected) -> list[Row]:
    counts = sorted(int(name.partition(".")[2]) for name in figures if name.startswith("filled."))
    rows = []
    for count in counts:
        what, rate = f"one daemon, {count:,} rows in raw_data, realtime_data filled", figures[f"filled.{count}"]
        if count == counts[0]:
            rows.append(Row(what, with_spread(rate)))
            continue
        first = figures[f"filled.{counts[0]}"]
        ratio = statistics.median(ratios(rate, first))
        goal, met = ("0.8 or more", ratio >= 0.8) if count == counts[-1] else ("", None)
        rows.append(
            Row(what, with_spread(rate), f"{counts[0]:,} rows: {with_spread(first)}", f"{ratio:.2f}", goal, met)
        )
    return rows


def _client_rows(figures: Collected) -> list[Row]:
    rows = []
    for suffix, what in {"": "kafka-python alone", ".decoded": "kafka-python and our decoder"}.items():
        python, c = f"client.python{suffix}", f"client.c{suffix}"
        if python in figures:
            beside = f"confluent-kafka: {with_spread(figures[c])}" if c in figures else ""
            ratio = f"{statistics.median(ratios(figures[python], figures[c])):.2f}" if c in figures else ""
            rows.append(Row(what, with_spread(figures[python]), beside, ratio))
    return rows


def _latency_rows(figures: Collected) -> list[Row]:
    rows = []
    for rate, goals in {100: (None, None), 1_000: (100, 500)}.items():
        for name, goal in zip(("p50", "p99"), goals, strict=True):
            values = figures.get(f"latency.{rate}.{name}")
            if values:
                rows.append(
                    Row(
                        f"produced to served at {rate:,}/s, {name}",
                        with_spread(values, " ms"),
                        f"slowest {max(figures[f'latency.{rate}.max']):,.0f} ms" if name == "p99" else "",
                        "",
                        f"{goal} ms" if goal else "",
                        statistics.median(values) <= goal if goal else None,
                    )
                )
    return rows
