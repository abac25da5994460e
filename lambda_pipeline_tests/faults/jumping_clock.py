"""A command of ours whose wall clock is ahead of the machine's by so many seconds as a file says, at every moment.

    python -m lambda_pipeline_tests.faults.jumping_clock ingest

What the daemon is handed as its clock jumps, and `time.time` with it, which Kafka's client, the log and the HTTP
session look at. The monotonic clock does not, as on a machine whose clock is set.
"""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lambda_pipeline.cli import common, main

VARIABLE = "JUMPING_CLOCK"
_real_time = time.time


def _ahead() -> float:
    try:
        return float(Path(os.environ[VARIABLE]).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):  # not written yet, or just being
        return 0.0


def _now() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=_ahead())


if __name__ == "__main__":
    common.utc_now = _now
    time.time = lambda: _real_time() + _ahead()
    main()
