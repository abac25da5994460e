"""What may stand on the command line: anything. A command ends with 0, 1 or 2, and never with a traceback."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lambda_pipeline.cli.data import _to_file
from lambda_pipeline.errors import SettingsError
from lambda_pipeline_tests.cli.commands import run
from lambda_pipeline_tests.cli.in_process import Call, call, logging_as_before
from lambda_pipeline_tests.security.fuzzing import encodable_text, examples

__all__ = ["call", "logging_as_before"]

# Servers that refuse at once. What waits for them until it is stopped is not among the commands.
AWAY = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
COMMANDS = ["export", "import", "backfill", "status", "db", "db upgrade", "nonsense", "--version", "-h", ""]
OPTIONS = [
    "--from", "--to", "--format", "--output", "-o", "--json", "--help", "--add-locations", "--dry-run", "--logins",
    "--only", "--everything", "--closed-only", "--accept-loss", "--", "-", "--nonsense", "--from=", "--to=2025-03-08",
]  # fmt: skip
VALUES = [
    "2025-03-01", "2025-03-08", "2025-03-01T06:00", "0001-01-01", "9999-12-31", "2025-13-01", "csv", "parquet", "json",
    "conditions", "hourly", "daily", "raw", "/dev/null", "/no/such/file", ".", "",
]  # fmt: skip
argument = st.one_of(st.sampled_from(OPTIONS), st.sampled_from(VALUES), encodable_text).filter(
    lambda text: "\0" not in text
)  # no argument of a process has one
command = st.sampled_from(COMMANDS).map(str.split)


@examples(250)
@given(command, st.lists(argument, max_size=6))
@example(["export"], ["hourly", "--from", "9999-12-31", "--to", "9999-12-31T23:59:59.999999"])
@example(["export"], ["raw", "--from", "0001-01-01", "--to", "2025-01-01"])
@example(["import"], ["."])
@example(["import"], ["a" * 5000])
@example(["export"], ["hourly", "--from", "2025-03-01", "--to", "2025-03-02", "-o", "a" * 5000])
@example(["backfill"], ["--from", "0001-01-01", "--to", "9999-12-31"])
def test_any_arguments_end_in_an_answer(call: Call, name: list[str], arguments: list[str]) -> None:
    result = call(*name, *arguments, **AWAY)
    assert result.code in (0, 1, 2), result.err
    assert "Traceback" not in result.text
    if result.code:
        assert result.text.strip()


@pytest.mark.parametrize("arguments", [["export", b"\xff"], ["import", b"\xff\xfe"], [b"\xff"], ["db", b"\xff"]])
def test_bytes_that_are_no_text_end_in_an_answer(tmp_path: Path, arguments: list[str | bytes]) -> None:
    """As a process: that is how such bytes come in, and its own streams are what they go out by."""
    result = run(tmp_path, *[os.fsdecode(one) for one in arguments], settings={**AWAY, "PYTHONIOENCODING": "utf-8"})
    assert result.code in (1, 2)
    assert "Traceback" not in result.text


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """Root could otherwise turn /dev/null into a file."""
    device = tmp_path / "device"
    device.symlink_to("/dev/null")
    assert _to_file(device, lambda out: out.write(b"rows")) == 4
    assert device.is_symlink()
    assert os.listdir(tmp_path) == ["device"]  # noqa: PTH208
    with pytest.raises(SettingsError, match="cannot be written"):
        _to_file(tmp_path, lambda out: out.write(b"rows"))
