"""What the daemons say of themselves: counts of the last hour, never more."""

from collections import Counter
from pathlib import Path

from lambda_pipeline.cli.signs import LastHour, disk


class Counted:
    """Counts and a clock that a test sets."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.now = 1000.0
        self.window = LastHour(lambda: self.counts, lambda: self.now)

    def after(self, seconds: float, **news: int) -> tuple[dict[str, int], float]:
        self.now += seconds
        self.counts.update(news)
        counted, window = self.window.counted()
        return dict(counted), window


def test_within_the_first_hour_it_is_everything_since_the_start() -> None:
    counted = Counted()
    assert counted.after(10, ok=2) == ({"ok": 2}, 10)
    assert counted.after(3500, ok=1, timeout=4) == ({"ok": 3, "timeout": 4}, 3510)


def test_later_it_is_the_last_hour_within_a_minute() -> None:
    counted = Counted()
    for _ in range(180):
        counted.after(60, ok=1)
    found, seconds = counted.after(0)
    assert 3600 <= seconds <= 3660
    assert found == {"ok": seconds / 60}


def test_after_a_long_silence_it_is_what_came_since_the_last_look() -> None:
    counted = Counted()
    counted.after(60, ok=5)
    assert counted.after(20_000, timeout=1) == ({"timeout": 1}, 20_000)


def test_the_disk_of_a_folder(tmp_path: Path) -> None:
    found = disk(tmp_path)
    assert found is not None
    assert found["folder"] == str(tmp_path.resolve())
    assert 0 < found["free_bytes"] < found["total_bytes"]
    assert disk(tmp_path / "nowhere") is None
