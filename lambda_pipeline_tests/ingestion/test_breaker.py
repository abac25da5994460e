"""The circuit breaker: what opens it, for how long, who probes, what closes it, and what it says."""

import logging
import threading

import pytest

from lambda_pipeline.ingestion.breaker import Breaker, BreakerPolicy
from lambda_pipeline.ingestion.source_errors import ErrorKind, SourceError

FAILING = [ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.RATE_LIMITED, ErrorKind.SERVER, ErrorKind.NOT_JSON]
ANSWERS = [kind for kind in ErrorKind if kind not in {*FAILING, ErrorKind.KEY}]


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def breaker(time: Time) -> Breaker:
    return Breaker("tomtom", "TOMTOM_API_KEY", time, BreakerPolicy(failures=3, first_open=5, longest_open=20))


def error(kind: ErrorKind = ErrorKind.SERVER, retry_after: float | None = None) -> SourceError:
    return SourceError("tomtom", kind, "HTTP 503", retry_after)


def ask(breaker: Breaker, outcome: SourceError | None) -> str:
    """One question: "asked", or the kind of the refusal."""
    try:
        ticket = breaker.admit()
    except SourceError as refusal:
        return refusal.kind.value
    breaker.record(ticket, outcome)
    return "asked"


def wait_until_asked(breaker: Breaker, time: Time, outcome: SourceError | None) -> float:
    """Seconds until a question is let through, which ends with the outcome."""
    before = time.now
    while ask(breaker, outcome) != "asked":
        time.now += 0.5
    return time.now - before


@pytest.mark.parametrize("kind", FAILING)
def test_failures_in_a_row_open_it(breaker: Breaker, kind: ErrorKind) -> None:
    assert [ask(breaker, error(kind)) for _ in range(4)] == ["asked", "asked", "asked", "open"]


def test_an_answer_in_between_begins_the_count_anew(breaker: Breaker) -> None:
    outcomes = [error(), error(), None, error(), error(ErrorKind.TIMEOUT), error()]
    assert [ask(breaker, outcome) for outcome in outcomes] == ["asked"] * 6
    assert ask(breaker, None) == "open"


@pytest.mark.parametrize("kind", ANSWERS)
def test_what_is_about_one_location_or_ourselves_never_opens_it(breaker: Breaker, kind: ErrorKind) -> None:
    assert {ask(breaker, error(kind)) for _ in range(20)} == {"asked"}


def test_it_stays_open_longer_from_probe_to_probe_up_to_its_longest(breaker: Breaker, time: Time) -> None:
    for _ in range(3):
        ask(breaker, error())
    assert [wait_until_asked(breaker, time, error()) for _ in range(5)] == [5, 10, 20, 20, 20]
    assert wait_until_asked(breaker, time, None) == 20
    for _ in range(3):
        assert ask(breaker, error()) == "asked"
    assert wait_until_asked(breaker, time, None) == 5


def test_a_wish_to_be_left_alone_opens_it_at_once_and_for_as_long(breaker: Breaker, time: Time) -> None:
    ask(breaker, error(ErrorKind.RATE_LIMITED, retry_after=90))
    assert wait_until_asked(breaker, time, None) == 90
    ask(breaker, error(ErrorKind.SERVER, retry_after=1e9))
    assert wait_until_asked(breaker, time, None) == 3600


def test_half_open_lets_one_probe_through_and_its_answer_closes_it(breaker: Breaker, time: Time) -> None:
    for _ in range(3):
        ask(breaker, error())
    time.now = 5.0
    tickets = []
    barrier = threading.Barrier(8)

    def try_it() -> None:
        barrier.wait(10)
        try:
            tickets.append(breaker.admit())
        except SourceError:
            tickets.append(None)

    threads = [threading.Thread(target=try_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    probes = [ticket for ticket in tickets if ticket is not None]
    assert (len(tickets), len(probes)) == (8, 1)
    breaker.record(probes[0], None)
    assert ask(breaker, None) == "asked"


def test_answers_to_questions_from_before_it_opened_do_not_count(breaker: Breaker, time: Time) -> None:
    late = breaker.admit()
    for _ in range(3):
        ask(breaker, error())
    breaker.record(late, None)
    assert ask(breaker, None) == "open"
    time.now = 5.0
    probe = breaker.admit()
    breaker.record(late, error())
    breaker.record(probe, None)
    assert ask(breaker, None) == "asked"


def test_a_probe_that_never_comes_back_is_followed_by_another(breaker: Breaker, time: Time) -> None:
    for _ in range(3):
        ask(breaker, error())
    time.now = 5.0
    breaker.admit()
    assert wait_until_asked(breaker, time, None) == 60


def test_a_probe_that_was_not_made_leaves_the_next_question_to_be_it(breaker: Breaker, time: Time) -> None:
    for _ in range(3):
        ask(breaker, error())
    time.now = 5.0
    assert ask(breaker, error(ErrorKind.QUOTA)) == "asked"
    assert ask(breaker, error(ErrorKind.TOO_FAR)) == "asked"
    assert ask(breaker, None) == "asked"


def test_it_says_each_outage_once_and_its_end(breaker: Breaker, time: Time, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        ask(breaker, error())
    for _ in range(3):
        wait_until_asked(breaker, time, error())
    wait_until_asked(breaker, time, None)
    ask(breaker, None)
    assert caplog.messages == [
        "tomtom fails (HTTP 503): it is left alone for 5 s, then tried with one question at a time. "
        "Its measures stay empty meanwhile.",
        "tomtom answers again.",
    ]


def test_a_refused_key_opens_it_at_once_names_the_setting_and_is_looked_at_every_five_minutes(
    breaker: Breaker, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ask(breaker, error(ErrorKind.KEY))
    assert ask(breaker, None) == "key"
    assert [wait_until_asked(breaker, time, error(ErrorKind.KEY)) for _ in range(3)] == [300] * 3
    wait_until_asked(breaker, time, error(ErrorKind.TOO_FAR))  # only a good key gets such an answer
    assert ask(breaker, None) == "asked"
    assert [(record.levelno, "TOMTOM_API_KEY" in record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, True),
        (logging.INFO, True),
    ]
