"""`python -m benchmarks.compare`, or `make bench-compare`: this state of the code beside the last commit's.

Both are measured by the same benchmarks, today's, in processes of their own and turn by turn, so that what disturbs the
machine disturbs both. A figure is called slower only where every round of this state was slower than every round of the
other: with five rounds each, chance alone does that once in 252 times. Exits 1 if one is.
"""

import argparse
import io
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.log import say
from benchmarks.report import Table, plain

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5
SLOWER, FASTER, NOISE = "slower", "faster", "within the noise"


class CompareError(Exception):
    """One side cannot be measured; the message says which and why."""


@dataclass(frozen=True)
class Change:
    """One figure on both sides, round by round; more is better."""

    what: str
    before: tuple[float, ...]
    now: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median against median; below 1 is slower."""
        return statistics.median(self.now) / statistics.median(self.before)

    @property
    def verdict(self) -> str:
        """Whether the two sides' ranges lie apart."""
        if max(self.now) < min(self.before):
            return SLOWER
        return FASTER if min(self.now) > max(self.before) else NOISE

    @property
    def by_chance(self) -> float:
        """How likely the ranges lie apart in this direction where nothing differs: one order out of all."""
        return 1 / math.comb(len(self.now) + len(self.before), len(self.now))


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Measure both sides, print the table; returns the process's exit code."""
    options = _options(arguments)
    try:
        against = options.against or _last(root)
        with _other(root, against, own=options.own) as other:
            changes = compare(root, other, options.runs)
    except CompareError as error:
        print(error, file=sys.stderr)
        return 2
    print(plain(_table(changes, against)))
    return 1 if any(change.verdict == SLOWER for change in changes) else 0


def compare(now: Path, before: Path, runs: int) -> list[Change]:
    """Rounds of both sides, the one that goes first taking turns."""
    sides = {"now": now, "before": before}
    figures: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in sides}
    for number in range(runs):
        for name in sorted(sides, reverse=number % 2 == 1):
            found = _measure(sides[name])
            say(f"round {number + 1}, {name}: " + ", ".join(f"{what} {rate:,.0f}" for what, rate in found.items()))
            for what, rate in found.items():
                figures[name][what].append(rate)
    both = [what for what in figures["now"] if what in figures["before"]]
    return [Change(what, tuple(figures["before"][what]), tuple(figures["now"][what])) for what in both]


def _measure(side: Path) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": str(side)}  # before what is installed
    command = [sys.executable, "-m", "benchmarks", "--json"]
    done = subprocess.run(command, cwd=side, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CompareError(
            f"The benchmarks failed in {side}: {last}\n"
            "Where an older commit is too far from today's benchmarks, --own measures it by its own."
        )
    return {str(what): float(rate) for what, rate in json.loads(done.stdout).items()}


@contextmanager
def _other(root: Path, commit: str, *, own: bool) -> Iterator[Path]:
    """The files of a commit in a folder of their own, under today's benchmarks."""
    with tempfile.TemporaryDirectory(prefix="lambda-compare-") as name:
        folder = Path(name)
        with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", commit))) as files:
            files.extractall(folder, filter="data")
        if not own:
            shutil.rmtree(folder / "benchmarks", ignore_errors=True)
            shutil.copytree(root / "benchmarks", folder / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
        yield folder


def _last(root: Path) -> str:
    """The last commit where something was changed since, or else the one before it."""
    return "HEAD" if _git(root, "status", "--porcelain").strip() else "HEAD~1"


def _git(root: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise CompareError("git is needed for the other side's files, and is not there.") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise CompareError(f"git {' '.join(arguments)}: {said}") from None


def _table(changes: Sequence[Change], against: str) -> Table:
    rows = tuple(
        (change.what, _rates(change.before), _rates(change.now), f"{change.ratio:.2f}", change.verdict)
        for change in changes
    )
    chance = f"Chance alone calls a figure slower once in {1 / changes[0].by_chance:,.0f} times." if changes else ""
    return Table(f"This state beside {against}, per second", ("what", "before", "now", "ratio", ""), rows, (chance,))


def _rates(rates: Sequence[float]) -> str:
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--against", help="a commit (HEAD, or HEAD~1 where nothing was changed since the last commit)")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"rounds of each side ({RUNS})")
    parser.add_argument("--own", action="store_true", help="measure the other commit by its own benchmarks")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
