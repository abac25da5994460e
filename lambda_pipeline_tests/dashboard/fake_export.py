"""`export_raw` for the fake serving layer: the same rows in the same order, in memory at once."""

from collections.abc import Sequence
from datetime import date
from typing import IO

from lambda_pipeline.errors import TerminalError
from lambda_pipeline.serving.choices import Format
from lambda_pipeline.serving.raw_choice import RawFilter
from lambda_pipeline_tests.dashboard.fake_serving import FakeServing


def export_raw(
    view: FakeServing,
    start: date,
    end: date,
    locations: Sequence[str] | None,
    where: RawFilter,
    form: Format,
    out: IO[bytes],
    *,
    at_most: int,
) -> int:
    """Write what matches, oldest first. Raises TerminalError above `at_most` rows."""
    frame = view.get_raw_data(start, end, locations, None, where=where, descending=False)
    if len(frame) > at_most:
        raise TerminalError("too many rows.", "Narrow the choice.")
    frame["timestamp"] = frame["timestamp"].dt.tz_convert(view.info.timezone)
    if form is Format.PARQUET:
        frame.to_parquet(out, index=False)
    else:
        frame["timestamp"] = [at.isoformat() for at in frame["timestamp"]]
        out.write(frame.to_csv(index=False).encode())
    return len(frame)
