"""The daily quotas: counted, remembered, spread over what is left of the day."""

import json
import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from lambda_pipeline.ingestion.quota import QuotaLedger, QuotaPace, Used
from lambda_pipeline.ingestion.schedule import Schedule

MIDNIGHT = datetime(2025, 3, 5, tzinfo=UTC)
INTERVAL = timedelta(minutes=6)


class Time:
    now = MIDNIGHT

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ingest" / "quota.json"


def ledger_of(path: Path, time: Time, limit: int | None = 2500) -> QuotaLedger:
    return QuotaLedger(path, {"tomtom": limit, "aqicn": None}, time)


def spend(ledger: QuotaLedger, times: int, source: str = "tomtom") -> int:
    return sum(ledger.spend(source) for _ in range(times))


def test_no_more_are_spent_than_there_are(path: Path, time: Time) -> None:
    ledger = ledger_of(path, time)
    assert spend(ledger, 2600) == 2500
    assert spend(ledger, 5000, "aqicn") == 5000
    assert ledger.used() == {"aqicn": Used(5000, None), "tomtom": Used(2500, 2500)}
    assert ledger.left("tomtom") == (0, timedelta(days=1))
    assert ledger.left("aqicn")[0] is None


def test_after_a_regular_end_the_numbers_are_exact(path: Path, time: Time) -> None:
    ledger = ledger_of(path, time)
    spend(ledger, 123)
    spend(ledger, 7, "aqicn")
    ledger.close()
    assert ledger_of(path, time).used() == {"aqicn": Used(7, None), "tomtom": Used(123, 2500)}


@pytest.mark.parametrize("spent", [1, 9, 10, 11, 2499, 2500])
def test_after_a_kill_never_less_is_remembered_than_was_spent_and_little_more(
    path: Path, time: Time, spent: int
) -> None:
    spend(ledger_of(path, time), spent)  # and no close
    assert spent <= ledger_of(path, time).used()["tomtom"].used <= min(spent + 9, 2500)


def test_killed_again_and_again_the_quota_holds(path: Path, time: Time) -> None:
    made = 0
    for _ in range(400):
        made += spend(ledger_of(path, time), 7)
    assert 1700 <= made <= 2500
    assert spend(ledger_of(path, time), 1) == 0


def test_a_new_utc_day_begins_at_zero_in_a_running_process_and_in_a_new_one(path: Path, time: Time) -> None:
    ledger = ledger_of(path, time)
    spend(ledger, 2500)
    time.now = MIDNIGHT + timedelta(days=1) - timedelta(microseconds=1)
    assert spend(ledger, 1) == 0
    assert ledger.left("tomtom")[1] == timedelta(seconds=1)
    time.now += timedelta(microseconds=1)
    assert ledger_of(path, time).used()["tomtom"] == Used(0, 2500)
    assert spend(ledger, 1) == 1
    ledger.close()
    assert json.loads(path.read_bytes()) == {"day": "2025-03-06", "used": {"tomtom": 1}}


def test_a_clock_set_back_over_midnight_gives_no_second_quota(path: Path, time: Time) -> None:
    ledger = ledger_of(path, time)
    spend(ledger, 2500)
    time.now -= timedelta(minutes=1)
    assert spend(ledger, 1) == 0
    assert spend(ledger_of(path, time), 1) == 0


def test_a_clock_that_had_stood_days_ahead_does_not_keep_the_quota_used_up(path: Path, time: Time) -> None:
    ledger = ledger_of(path, time)
    spend(ledger, 2500)
    time.now -= timedelta(days=30)
    assert spend(ledger, 1) == 1
    assert spend(ledger_of(path, time), 1) == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"day": "soon", "used": {}}', b'{"day": "2025-03-05", "used": {"tomtom": -1}}']
)
def test_a_broken_file_is_said_and_counts_from_zero(
    path: Path, time: Time, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    assert ledger_of(path, time).used()["tomtom"] == Used(0, 2500)
    assert "counted from 0" in caplog.text


def test_a_disk_that_cannot_be_written_is_said_once_and_counting_goes_on(
    tmp_path: Path, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ingest").write_text("a file where the folder should be", encoding="utf-8")
    ledger = ledger_of(tmp_path / "ingest" / "quota.json", time, 20)
    caplog.clear()
    assert spend(ledger, 30) == 20
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


def test_the_file_is_replaced_as_a_whole(path: Path, time: Time) -> None:
    ledger = ledger_of(path, time)
    spend(ledger, 1)
    with path.open("rb") as reader:  # whoever has it open goes on seeing the old one
        spend(ledger, 100)
        ledger.close()
        assert json.load(reader)["used"] == {"tomtom": 10}
    assert [found.name for found in path.parent.iterdir()] == ["quota.json"]


# ---------------------------------------------------------------- the pace


def pace_of(ledger: QuotaLedger, locations: int = 10) -> QuotaPace:
    return QuotaPace(ledger, "tomtom", locations, INTERVAL)


def test_ten_places_every_six_minutes_ask_every_time(path: Path, time: Time) -> None:
    assert all(pace_of(ledger_of(path, time)).takes(turn) for turn in range(240))


def test_without_a_quota_every_turn_is_taken(path: Path, time: Time) -> None:
    ledger = ledger_of(path, time, None)
    spend(ledger, 100_000)
    assert all(pace_of(ledger).takes(turn) for turn in range(10))


@pytest.mark.parametrize(
    ("locations", "spent", "extra"),
    [(10, 0, 0), (10, 1500, 0), (10, 2300, 0), (10, 2490, 0), (1000, 0, 0), (10, 0, 1)],
)
def test_the_requests_last_until_the_day_ends(path: Path, time: Time, locations: int, spent: int, extra: int) -> None:
    """A day of polls, each request with `extra` retries: none runs dry before the last hour, few are left over."""
    ledger = ledger_of(path, time)
    spend(ledger, spent)
    pace, schedule = pace_of(ledger, locations), Schedule(locations, INTERVAL, MIDNIGHT)
    asked: list[datetime] = []
    while time.now < MIDNIGHT + timedelta(days=1):
        for poll in schedule.take(time.now, locations)[0]:
            if pace.takes(poll.turn) and ledger.spend("tomtom"):
                asked.append(time.now)
                spend(ledger, extra)
        time.now += timedelta(seconds=5)
    assert max(asked) >= MIDNIGHT + timedelta(hours=21)
    left = 2500 - spent - len(asked) * (1 + extra)
    assert 0 <= left <= max(0.25 * (2500 - spent), 3)


def test_a_change_of_pace_is_said_once_and_tomorrow_all_is_well_again(
    path: Path, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ledger = ledger_of(path, time)
    pace = pace_of(ledger)
    spend(ledger, 1600)
    assert [pace.takes(turn) for turn in range(6)] == [True, False, False] * 2
    spend(ledger, 900)
    assert not any(pace.takes(turn) for turn in range(10))
    time.now += timedelta(days=1)
    assert all(pace.takes(turn) for turn in range(10))
    assert caplog.messages == [
        "tomtom: only 900 requests are left today; to make them last it is asked at every 3. poll of a location.",
        "tomtom: today's requests are used up; it is asked again tomorrow (UTC).",
        "tomtom: 2500 requests are left today; every poll asks it again.",
    ]


def test_the_file_names_its_day(path: Path, time: Time) -> None:
    ledger_of(path, time).close()
    assert date.fromisoformat(json.loads(path.read_bytes())["day"]) == MIDNIGHT.date()
