"""What a run says while it goes on, on standard error: its figures go to standard output."""

import sys
import time


def say(text: str) -> None:
    """A line, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
