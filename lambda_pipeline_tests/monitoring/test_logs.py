"""What a log line looks like, for people and for machines, and what it never shows."""

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_pipeline.monitoring.logs import ConsoleFormatter, JsonFormatter, configure_logs, is_for_machines
from lambda_pipeline.monitoring.redaction import Redactor, redact
from lambda_pipeline_tests.cli.in_process import logging_as_before

__all__ = ["logging_as_before"]
SECRET = "4f9c0a/7d+e1"
MOMENT = 1_764_039_344.0625  # 2025-11-25T02:55:44.0625Z


def record(message: str, *values: object, level: int = logging.INFO, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("lambda_pipeline.speed.batching", level, "", 0, message, values, None)
    made.created, made.msecs, made.process = MOMENT, 62.5, 77
    vars(made).update(more)
    return made


def as_json(made: logging.LogRecord, *secrets: str) -> dict[str, object]:
    line = JsonFormatter("speed", Redactor(secrets)).format(made)
    assert "\n" not in line
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def raised() -> logging.LogRecord:
    try:
        raise ValueError(f"GET /feed?token={SECRET}")
    except ValueError:
        made = record("it failed")
        made.exc_info = sys.exc_info()
        return made


# ---------------------------------------------------------------- JSON


def test_a_json_line_holds_when_where_and_what() -> None:
    assert as_json(record("polling %d locations", 10)) == {
        "time": "2025-11-25T02:55:44.062Z", "level": "INFO", "logger": "lambda_pipeline.speed.batching",
        "service": "speed", "pid": 77, "message": "polling 10 locations",
    }  # fmt: skip


def test_positions_are_a_field_as_they_are_written() -> None:
    found = as_json(record("%s is a dead letter, and %s, but not t[x]@1 or t@1", "traffic-aqi.data[3]@17", "t[0]@0"))
    assert found["positions"] == ["traffic-aqi.data[3]@17", "t[0]@0"]
    assert "positions" not in as_json(record("nothing"))


def test_what_a_caller_adds_is_a_field_but_hides_none() -> None:
    found = as_json(record("x", next_action=f"Call ?key={SECRET}", attempts=3, place="a", service="fake"))
    assert (found["next_action"], found["attempts"], found["place"]) == ("Call ?key=***", 3, "a")
    assert found["service"] == "speed"


def test_an_exception_is_one_field_of_the_line() -> None:
    found = as_json(raised())
    assert str(found["exception"]).splitlines()[0] == "Traceback (most recent call last):"
    assert str(found["exception"]).splitlines()[-1] == "ValueError: GET /feed?token=***"


@given(st.text(), st.text())
def test_whatever_is_said_is_one_line_that_can_be_read_back(message: str, extra: str) -> None:
    found = as_json(record("%s", message, place=extra))
    assert found["message"] == redact(message)
    assert found["place"] == redact(extra)


# ---------------------------------------------------------------- console


def test_a_console_line_is_in_utc() -> None:
    line = ConsoleFormatter(Redactor()).format(record("polling %d locations", 10))
    assert line == "2025-11-25T02:55:44Z INFO lambda_pipeline.speed.batching: polling 10 locations"


def test_nothing_from_outside_makes_a_second_console_line() -> None:
    line = ConsoleFormatter(Redactor()).format(record("%s", "bad\r\n2025-11-25T02:55:44Z INFO forged\x1b[31m\u2028"))
    assert line.splitlines() == [line]
    assert r"bad\r\n2025" in line
    assert "\x1b" not in line


def test_a_traceback_for_people_has_its_lines_and_no_secret() -> None:
    text = ConsoleFormatter(Redactor()).format(raised())
    assert text.splitlines()[1] == "Traceback (most recent call last):"
    assert SECRET not in text


# ---------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://writer:hunter2@db:5432/x is away", "postgresql://writer:***@db:5432/x is away"),
        ("host=db password=hunter2 user=x", "host=db password=*** user=x"),
        ("/db?host=a&password=hunter2&port=1", "/db?host=a&password=***&port=1"),
        ("https://api/x?Key=abc&unit=KMPH", "https://api/x?Key=***&unit=KMPH"),
        ("http://127.0.0.1:9101/metrics at 10:30 by a@b", "http://127.0.0.1:9101/metrics at 10:30 by a@b"),
        ("check the password: it is wrong", "check the password: it is wrong"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize("style", ["as it is", "quoted", "for a query"])
def test_a_known_secret_is_found_wherever_it_stands(style: str) -> None:
    form = {"as it is": SECRET, "quoted": "4f9c0a%2F7d%2Be1", "for a query": "4f9c0a%2F7d%2Be1"}[style]
    assert as_json(record("it said %s!", form), SECRET)["message"] == "it said ***!"


def test_of_two_secrets_the_longer_one_goes_first() -> None:
    assert Redactor([SECRET, f"{SECRET}-and-more"])(f"x{SECRET}-and-more") == "x***"


def test_a_secret_that_is_an_ordinary_word_blots_nothing_out() -> None:
    assert Redactor(["tomtom", ""])("tomtom answers again.") == "tomtom answers again."


# ---------------------------------------------------------------- set up


@pytest.fixture
def as_before(logging_as_before: None) -> Iterator[None]:
    hooks = sys.excepthook, threading.excepthook
    yield
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)


@pytest.mark.parametrize(("style", "expected"), [("console", False), ("json", True)])
def test_libraries_are_heard_from_warning_on_and_ours_from_the_level_on(
    as_before: None, capsys: pytest.CaptureFixture[str], style: str, expected: bool
) -> None:
    configure_logs("DEBUG", service="ingest", style=style)  # type: ignore[arg-type]
    assert is_for_machines() is expected
    for name in ("lambda_pipeline.speed", "urllib3.connectionpool", "kafka.client"):
        for level in (logging.DEBUG, logging.WARNING):
            logging.getLogger(name).log(level, "%s says %d", name, level)
    lines = capsys.readouterr().err.splitlines()
    heard = [line for line in lines if "says" in line]
    assert [line.count("urllib3.connectionpool says 30") for line in heard].count(1) == 1
    assert not any("urllib3.connectionpool says 10" in line or "kafka.client says 10" in line for line in heard)
    assert any("lambda_pipeline.speed says 10" in line for line in heard)
    if expected:
        assert {json.loads(line)["service"] for line in lines} == {"ingest"}


PROGRAM = """
import logging, threading, warnings
from lambda_pipeline.monitoring.logs import configure_logs
configure_logs("INFO", service="speed", style="json", secrets=["planted-secret"])
warnings.warn("old: planted-secret")
thread = threading.Thread(target=lambda: 1 / 0, name="worker")
thread.start(); thread.join()
raise RuntimeError("the end of planted-secret")
"""


def test_also_what_ends_a_thread_or_the_process_is_a_line_of_json() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = [json.loads(line) for line in io.StringIO(done.stderr)]
    assert [(line["level"], line["logger"]) for line in lines] == [
        ("WARNING", "py.warnings"),
        ("CRITICAL", "lambda_pipeline.monitoring.logs"),
        ("CRITICAL", "lambda_pipeline.monitoring.logs"),
    ]
    assert "worker" in lines[1]["message"]
    assert "ZeroDivisionError" in lines[1]["exception"]
    assert lines[2]["exception"].endswith("RuntimeError: the end of ***")
    assert "planted-secret" not in done.stderr
    assert all(datetime.fromisoformat(line["time"]).utcoffset() is not None for line in lines)
