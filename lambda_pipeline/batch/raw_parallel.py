"""Several processes that read the log at the same time, each a share of its partitions, while this one reads its own.

Reading, judging and encoding are Python's work, which one process does on one processor. Neither multiprocessing's ways
to start one would do: a fork copies threads' locks, a spawn imports Dagster's main module again.
"""

import logging
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import sqlalchemy as sa

from lambda_pipeline import errors
from lambda_pipeline.batch.raw_reader import Done, Failed, Logged, Message, Progress, Task
from lambda_pipeline.batch.raw_share import OnProgress, RawRun, Share, store_share
from lambda_pipeline.errors import LambdaPipelineError, LogReaderError
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogReader

MOST_BY_ITSELF = 4
"""Readers at most where no setting says how many: each takes 140 MiB, and half of a processor in PostgreSQL."""
_COMMAND = (sys.executable, "-W", "ignore", "-m", "lambda_pipeline.batch.raw_reader")
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/cpu.max")
_GRACE = 5.0  # seconds that a reader may take to end when it is told to


def default_readers(container_limit: Path = _CONTAINER_LIMIT) -> int:
    """One for every two processors that this process may use, since PostgreSQL and Kafka want some too."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        microseconds, period = map(int, container_limit.read_text(encoding="ascii").split())
        processors = min(processors, microseconds // period)
    return max(1, min(MOST_BY_ITSELF, processors // 2))


def store_shares(
    engine: sa.Engine,
    connection: KafkaConnection,
    reader: LogReader,
    shares: Sequence[tuple[Share, int]],
    run: RawRun,
    on_progress: OnProgress,
) -> None:
    """Store the first share here and each other one in a process of its own; `run` counts all of it.

    `shares` come with the records left of each. Whatever one of them raises ends the others, and is raised:
    LogReaderError where a process ended without a word. What was stored by then stays.
    """
    (own, _), *others = shares
    run.readers = len(shares)
    with _Readers(engine, connection, others) as readers:

        def tell(done: int, total: int) -> None:
            readers.look()
            on_progress(done + readers.done, total + readers.total)

        store_share(engine, reader, own, run, tell)
        own_records = run.records
        while readers.are_running:
            readers.look(wait=True)
            on_progress(own_records + readers.done, own_records + readers.total)
        for stored in readers.runs():
            run.add(stored)


@dataclass
class _Reader:
    """One process, and what it has said so far."""

    process: subprocess.Popen[bytes]
    progress: Progress
    unread: bytes = b""
    run: RawRun | None = None


class _Readers:
    """The processes of a block, at whose end none of them is left."""

    def __init__(self, engine: sa.Engine, connection: KafkaConnection, shares: Sequence[tuple[Share, int]]) -> None:
        self._selector = selectors.DefaultSelector()
        self._readers: list[_Reader] = []
        self._decoder = msgspec.json.Decoder(Message)
        level = logging.getLogger("lambda_pipeline").getEffectiveLevel()
        url = engine.url.render_as_string(hide_password=False)
        self._tasks = [
            (Task(url, connection, next(iter(share.partitions.values())).topic, share, level), records)
            for share, records in shares
        ]

    def __enter__(self) -> "_Readers":
        try:
            for task, records in self._tasks:
                self._start(task, records)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def done(self) -> int:
        """Records that all of them have stored."""
        return sum(reader.progress.done for reader in self._readers)

    @property
    def total(self) -> int:
        """Records that all of them have to store."""
        return sum(reader.progress.total for reader in self._readers)

    @property
    def are_running(self) -> bool:
        """Whether one of them is not done."""
        return any(reader.run is None for reader in self._readers)

    def runs(self) -> list[RawRun]:
        """What those that are done did."""
        return [reader.run for reader in self._readers if reader.run is not None]

    def look(self, *, wait: bool = False) -> None:
        """Hear what they have to say, or `wait` until one of them says something. Raises what one of them failed of."""
        for key, _ in self._selector.select(None if wait else 0):
            reader: _Reader = key.data
            heard = os.read(key.fd, 65_536)
            *lines, reader.unread = (reader.unread + heard).split(b"\n")
            for line in lines:
                self._take(reader, self._decoder.decode(line))
            if not heard:
                self._selector.unregister(key.fileobj)
                if reader.run is None:
                    raise _ended(reader.process)

    def _start(self, task: Task, records: int) -> None:
        try:
            process = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the run, which ends its readers
            )
        except OSError as error:
            raise LogReaderError(
                f"a reader of the log cannot be started: {error.strerror}.",
                "Make room for it, or set LAMBDA_RAW_READERS to 1.",
            ) from error
        self._readers.append(_Reader(process, Progress(0, records)))
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("unreachable")
        with suppress(BrokenPipeError):  # `look` finds out why
            process.stdin.write(msgspec.json.encode(task) + b"\n")
            process.stdin.flush()
        self._selector.register(process.stdout, selectors.EVENT_READ, self._readers[-1])

    def _take(self, reader: _Reader, message: Message) -> None:
        match message:
            case Progress():
                reader.progress = message
            case Logged(level, name, text):
                logging.getLogger(name).log(level, "%s", text)
            case Done(run):
                reader.run = run
                reader.progress = Progress(run.records, run.records)
            case Failed():
                raise _error_of(message)

    def _end(self) -> None:
        """End them all, and wait until they are gone."""
        self._selector.close()
        for process in [reader.process for reader in self._readers]:
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()  # which ends it too, where it does not hear the signal
            process.terminate()
        for process in [reader.process for reader in self._readers]:
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:  # frozen
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _error_of(failure: Failed) -> LambdaPipelineError:
    """A reader's error as it was raised there."""
    kind = getattr(errors, failure.kind, None)
    if isinstance(kind, type) and issubclass(kind, LambdaPipelineError):
        return kind(failure.message, failure.next_action)
    return LogReaderError(f"a reader of the log failed: {failure.message}.", "The log has more of it.")


def _ended(process: subprocess.Popen[bytes]) -> LogReaderError:
    code = process.wait()
    how = f"was ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit code {code}"
    return LogReaderError(
        f"a reader of the log (process {process.pid}) {how}.",
        "What was stored stays; run again, and it goes on from there. For lack of memory, lower LAMBDA_RAW_READERS.",
    )
