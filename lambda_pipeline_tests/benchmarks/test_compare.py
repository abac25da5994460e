"""`make bench-compare`: when it calls a change slower, and that it measures the two states that it says."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.compare import FASTER, NOISE, SLOWER, Change, main

MEASURES = """
import json, pathlib
from product import RATE
rounds = pathlib.Path(__file__).with_name("rounds")
number = len(rounds.read_text()) if rounds.exists() else 0
rounds.write_text("x" * (number + 1))
print(json.dumps({"rows": RATE + number, "steady": 7.0}))
"""


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        ((100, 101, 102), (90, 95, 99), SLOWER),
        ((100, 101, 102), (90, 95, 100), NOISE),
        ((100, 101, 102), (80, 90, 103), NOISE),
        ((100, 101, 102), (103, 110, 120), FASTER),
        ((100, 100, 100), (100, 100, 100), NOISE),
    ],
)
def test_slower_is_what_was_slower_in_every_round(before: tuple, now: tuple, verdict: str) -> None:
    assert Change("rows", before, now).verdict == verdict


def test_the_ratio_is_of_the_medians_and_the_chance_one_order_out_of_all() -> None:
    change = Change("rows", (1, 2, 4, 5, 100), (1, 1, 3, 9, 9))
    assert change.ratio == 3 / 4
    assert change.by_chance == 1 / 252


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits of a product, the second one slower, and a benchmark of it."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "benchmarks" / "__main__.py").write_text(MEASURES)
    (tmp_path / ".gitignore").write_text("__pycache__\nrounds\n")
    _git(tmp_path, "init", "-q")
    for rate in (1000, 500):
        (tmp_path / "product.py").write_text(f"RATE = {rate}\n")
        _commit(tmp_path)
    return tmp_path


def test_a_slower_commit_is_noticed(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs", "3"], repository) == 1
    table = capsys.readouterr().out
    assert "beside HEAD~1" in table
    assert "1,001 (1,000 to 1,002)" in table
    assert "501 (500 to 502)" in table
    assert "slower" in table


def test_what_is_not_committed_is_compared_with_the_last_commit(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "product.py").write_text("RATE = 600\n")
    assert main(["--runs", "3"], repository) == 0
    table = capsys.readouterr().out
    assert "beside HEAD," in table
    assert "faster" in table


def test_both_sides_are_measured_by_todays_benchmarks(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measures = repository / "benchmarks" / "__main__.py"
    measures.write_text(MEASURES.replace('"rows"', '"renamed"'))
    _commit(repository)
    main(["--runs", "2", "--against", "HEAD~2"], repository)
    assert "renamed" in capsys.readouterr().out
    main(["--runs", "2", "--against", "HEAD~2", "--own"], repository)
    table = capsys.readouterr().out
    assert "renamed" not in table
    assert "rows" not in table  # only what both sides have
    assert "steady" in table


def test_a_side_that_fails_is_named(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "product.py").write_text("RATE = missing\n")
    assert main(["--runs", "2"], repository) == 2
    assert "NameError: name 'missing' is not defined" in capsys.readouterr().err
    assert main(["--against", "nonsense"], repository) == 2
    assert "nonsense" in capsys.readouterr().err


def _commit(repository: Path) -> None:
    _git(repository, "add", ".")
    _git(repository, "-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "-qm", "A state")


def _git(repository: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True)
