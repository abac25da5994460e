"""A process that reads, judges and stores a share of the log, beside a run that has much to read (`raw_parallel`).

`python -m lambda_pipeline.batch.raw_reader` gets its `Task` as a line of JSON on stdin, passwords included: they are in
no argument and no environment. What it says are lines of JSON on stdout, each a `Message`. It ends at once when its
stdin does, so that a run which is killed leaves no reader behind.
"""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from lambda_pipeline.batch.raw_share import RawRun, Share, store_share
from lambda_pipeline.errors import LambdaPipelineError
from lambda_pipeline.garbage import rare_collection
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogReader


@dataclass(frozen=True, slots=True)
class Task:
    """What a reader is to do, and with what."""

    database_url: str = field(repr=False)  # with its password
    kafka: KafkaConnection
    topic: str
    share: Share
    log_level: int


class Progress(msgspec.Struct, tag=True, frozen=True):
    """So many records of its share are stored, of so many in all."""

    done: int
    total: int


class Logged(msgspec.Struct, tag=True, frozen=True):
    """Something for the run's log."""

    level: int
    logger: str
    message: str


class Done(msgspec.Struct, tag=True, frozen=True):
    """The share is stored; the last that a reader says."""

    run: RawRun


class Failed(msgspec.Struct, tag=True, frozen=True):
    """It is not; the last that a reader says. `kind` is a name of errors.py's, or empty for what was not expected."""

    kind: str
    message: str
    next_action: str


Message = Progress | Logged | Done | Failed


class _Forward(logging.Handler):
    """Hands what is logged here over to the run."""

    def __init__(self, say: Callable[[Message], None]) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(Logged(record.levelno, record.name, self.format(record)))


def main() -> int:
    """Do what stdin says; returns the exit code."""
    say = _sayer()
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return 1  # the run is gone
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    task = msgspec.json.decode(line, type=Task)
    logging.basicConfig(level="WARNING", handlers=[_Forward(say)], force=True)
    logging.getLogger("lambda_pipeline").setLevel(task.log_level)
    try:
        run = _read(task, lambda done, total: say(Progress(done, total)))
    except LambdaPipelineError as error:
        say(Failed(type(error).__name__, error.message, error.next_action))
        return 1
    except Exception as error:
        traceback.print_exc()  # into the run's own log of what is not expected
        say(Failed("", f"{type(error).__name__}: {error}", ""))
        return 1
    say(Done(run))
    return 0


def _read(task: Task, on_progress: Callable[[int, int], None]) -> RawRun:
    run, engine = RawRun(), make_engine(task.database_url, "batch reader", BATCH_TIMEOUTS, pool_size=1)
    try:
        with LogReader(task.kafka, task.topic) as reader, rare_collection():
            store_share(engine, reader, task.share, run, on_progress)
    finally:
        engine.dispose()
    return run


def _sayer() -> Callable[[Message], None]:
    """Writes messages where stdout leads. Whatever else prints there goes to stderr from now on."""
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lock, encoder = threading.Lock(), msgspec.json.Encoder()

    def say(message: Message) -> None:
        try:
            with lock:
                lines.write(encoder.encode(message) + b"\n")
                lines.flush()
        except BrokenPipeError:
            os._exit(1)

    return say


def _end_with_the_run() -> None:
    """The run says nothing more: its end of the pipe closes when it wants this process to end, or is no more."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
