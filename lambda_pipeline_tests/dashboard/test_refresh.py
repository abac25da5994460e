"""Reads that sessions share: one for all who look at the same, right for each, and never an error that stays."""

import threading
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest

from dashboard.context import Context, PageOptions
from dashboard.reading import Choice, Reads
from dashboard.refresh import KEPT_READS, SharedReads, shared_reads
from dashboard.tabs import Tab
from dashboard.texts import Texts
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.errors import DatabaseUnavailableError
from lambda_pipeline_tests.dashboard.fake_serving import NOW, FakeCity, FakeServing

DAYS = (date(2026, 3, 11), date(2026, 3, 13))
CHOICE = Choice(*DAYS)
CONTEXT = Context(FakeCity(), CityClock("Asia/Jakarta"), Texts(), PageOptions(refresh_seconds=10), False, NOW)


@dataclass
class Counting:
    """A tab that counts its reads, and may be made to wait or to fail."""

    reads: int = 0
    gate: threading.Event | None = None
    error: Exception | None = None

    def read(self, view: Reads, choice: Choice, context: Context) -> Hashable:
        self.reads += 1
        if self.gate:
            assert self.gate.wait(10)
        if self.error:
            raise self.error
        view.get_city_hourly(choice.start, choice.end, choice.wanted)
        return choice.own

    @property
    def tab(self) -> Tab[Any]:
        return Tab("counting", self.read, lambda data, context: None)


@pytest.fixture
def serving() -> FakeServing:
    return FakeServing()


def test_within_an_interval_a_choice_is_read_once_and_after_it_anew(serving: FakeServing) -> None:
    counting, reads = Counting(), SharedReads()
    first = reads.refresh(serving, counting.tab, CHOICE, CONTEXT)
    assert reads.refresh(serving, counting.tab, CHOICE, CONTEXT.at(NOW + timedelta(seconds=8))) is first
    later = reads.refresh(serving, counting.tab, CHOICE, CONTEXT.at(NOW + timedelta(seconds=10)))
    assert later is not first
    assert counting.reads == 2
    assert later.read_at == NOW + timedelta(seconds=10)


def test_a_clock_that_was_set_back_does_not_keep_a_read_for_ever(serving: FakeServing) -> None:
    counting, reads = Counting(), SharedReads()
    reads.refresh(serving, counting.tab, CHOICE, CONTEXT)
    reads.refresh(serving, counting.tab, CHOICE, CONTEXT.at(NOW - timedelta(hours=1)))
    assert counting.reads == 2


def test_another_choice_or_tab_is_another_read(serving: FakeServing) -> None:
    counting, other, reads = Counting(), Counting(), SharedReads()
    choices = [CHOICE, Choice(*DAYS, ("Krukut",)), CHOICE.with_own("page 2")]
    answers = [reads.refresh(serving, counting.tab, choice, CONTEXT) for choice in choices]
    reads.refresh(serving, Tab("other", other.read, lambda data, context: None), CHOICE, CONTEXT)
    assert (counting.reads, other.reads) == (3, 1)
    assert [answer.tab_data for answer in answers] == [None, None, "page 2"]
    assert answers[1].hours["data_points_count"].sum() < answers[0].hours["data_points_count"].sum()


def test_databases_do_not_share(serving: FakeServing) -> None:
    assert shared_reads(serving) is shared_reads(serving)
    assert shared_reads(serving) is not shared_reads(FakeServing())


def test_within_a_snapshot_a_question_is_asked_once(serving: FakeServing) -> None:
    SharedReads().refresh(serving, Counting().tab, CHOICE, CONTEXT)
    assert sorted(serving.asked) == ["city_hourly", "freshness", "heatmap", "snapshot"]


def test_those_who_ask_for_the_same_at_once_wait_for_one_read(serving: FakeServing) -> None:
    counting, reads = Counting(gate=threading.Event()), SharedReads()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(reads.refresh, serving, counting.tab, CHOICE, CONTEXT) for _ in range(4)]
        counting.gate.set()  # type: ignore[union-attr]
        answers = [each.result(10) for each in waiting]
    assert counting.reads == 1
    assert all(answer is answers[0] for answer in answers)


def test_an_error_is_everybodys_who_waits_and_nobodys_after(serving: FakeServing) -> None:
    counting, reads = Counting(error=DatabaseUnavailableError("away.")), SharedReads()
    with pytest.raises(DatabaseUnavailableError):
        reads.refresh(serving, counting.tab, CHOICE, CONTEXT)
    counting.error = None
    assert reads.refresh(serving, counting.tab, CHOICE, CONTEXT).tab == "counting"
    assert counting.reads == 2


def test_only_the_newest_choices_are_kept(serving: FakeServing) -> None:
    counting, reads = Counting(), SharedReads()
    for number in range(KEPT_READS + 1):
        reads.refresh(serving, counting.tab, CHOICE.with_own(number), CONTEXT)
    reads.refresh(serving, counting.tab, CHOICE.with_own(KEPT_READS), CONTEXT)
    assert counting.reads == KEPT_READS + 1
    reads.refresh(serving, counting.tab, CHOICE.with_own(0), CONTEXT)
    assert counting.reads == KEPT_READS + 2


def test_names_are_read_once_a_minute_and_kept_while_the_database_is_away(serving: FakeServing) -> None:
    reads = SharedReads()
    names = reads.known(serving, NOW)
    reads.known(serving, NOW + timedelta(seconds=59))
    assert serving.asked.count("heatmap") == 1
    serving.is_away = True
    assert reads.known(serving, NOW + timedelta(minutes=5)) is names
    with pytest.raises(DatabaseUnavailableError):
        SharedReads().known(serving, NOW)
