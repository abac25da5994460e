"""The figures as the table of goals, and the profile as tables of where the time goes. Pure."""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.profile import Profile
from benchmarks.report import Row, Table, ratios, with_spread

Collected = Mapping[str, Sequence[float]]
QUIX_GUARANTEE = "at least once; a row repeated at the key is dropped; no aggregates, no dead letters"


def goal_rows(figures: Collected) -> list[Row]:
    """A row for everything that was measured."""
    rows = []
    if "flood" in figures:
        rows += _flood_rows(figures)
    if {"flood", "first"} <= figures.keys():
        rows.append(_beside(figures, "one daemon against the first system's way", "flood", "first", 100))
    if {"flood", "copy"} <= figures.keys():
        rows.append(_beside(figures, "one daemon against a plain COPY, 2,000 a commit", "flood", "copy", 0.25))
        rows.append(_beside(figures, "its commit alone against the same COPY, 2,000 a commit", "commit", "copy"))
    for name in ("default", "tuned"):
        if {"flood", f"quix.{name}"} <= figures.keys():
            rows.append(_beside(figures, f"one daemon against quixstreams' sink, {name}", "flood", f"quix.{name}", 1))
    if {"flood", "two"} <= figures.keys():
        rows.append(_beside(figures, "two daemons against one", "two", "flood"))
    if "flood" in figures:
        rows += _filled_rows(figures)
    rows += _client_rows(figures)
    rows += _latency_rows(figures)
    return rows


def notes(figures: Collected) -> list[str]:
    """What has to be said with the figures."""
    found = []
    if "flood.cores.daemon" in figures:
        cores = ", ".join(
            f"{name} {statistics.median(figures[f'flood.cores.{name}']):.2f}" for name in ("daemon", "postgres", "kafka")
        )
        found.append(f"Cores taken during the flood: {cores}.")
    lost = [
        f"{statistics.median(figures[key]) - 0.05:.0%} with its {name} settings"
        for name in ("default", "tuned")
        if (key := f"quix.{name}.without_aqi") in figures
    ]
    if lost:
        found.append(
            f"Guarantees. Ours: exactly once, aggregates and latest values kept in the same commit, dead letters kept, "
            f"published observations left out. quixstreams' sink: {QUIX_GUARANTEE}. It takes a batch's columns from the "
            f"batch's first row and leaves nulls out of rows, so that a measure that is null there is stored as null for "
            f"the whole batch: the AQI of {' and of '.join(lost)} of the rows was lost."
        )
    return found


def client_note(figures: Collected, profile: Profile | None) -> list[str]:
    """What a C client would gain at most, from the share of the daemon's busiest thread that the client takes."""
    if profile is None or not profile.threads or "client.c" not in figures:
        return []
    share = max(
        sum(share for kind, share in kinds.items() if kind.startswith(("Kafka client", "decompress")))
        for thread, kinds in profile.threads.items()
        if "MainThread" in thread or len(profile.threads) == 1
    )
    faster = statistics.median(figures["client.c"]) / statistics.median(figures["client.python"])
    gain = 1 / (1 - share + share / faster) - 1
    return [
        f"A C client hands records over {faster:.1f} times as fast. kafka-python takes {share:.0%} of the daemon's main "
        f"thread, so the daemon would gain {gain:.0%} (by Amdahl's law; {1 / (1 - share) - 1:.0%} if it cost nothing)."
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
                f"From PostgreSQL's statement log of a run of its own at {profile.flood.rate:,.0f}/s: {commits:,} commits "
                f"of {profile.flood.records / commits:,.0f} observations, {wall / commits:.1f} ms each; statements take "
                f"{on_server / wall:.0%} of the run. COPY includes waiting for the daemon's rows.",
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
        ratio = statistics.median(ratios(figures[f"filled.{count}"], figures["flood"]))
        is_last = count == counts[-1]
        rows.append(
            Row(
                f"one daemon, {count:,} rows in raw_data, more in realtime_data",
                with_spread(figures[f"filled.{count}"]),
                f"empty tables: {with_spread(figures['flood'])}",
                f"{ratio:.2f}",
                "0.8 or more" if is_last else "",
                ratio >= 0.8 if is_last else None,
            )
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
