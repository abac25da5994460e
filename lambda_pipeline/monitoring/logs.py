"""A daemon's log: one line an event, for people or for machines, in UTC, and without secrets."""

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from lambda_pipeline.monitoring.redaction import Redactor

log = logging.getLogger(__name__)
LogFormat = Literal["console", "json"]
_POSITION = re.compile(r"[a-zA-Z0-9._-]{1,249}\[\d+\]@\d+")  # as LogPartition.at writes it
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class ConsoleFormatter(logging.Formatter):
    """For people. What would break the line is escaped; only a traceback takes lines of its own."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime
        self._redactor = redactor

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        """The line, without what a traceback adds."""
        return _CONTROL.sub(_escape, super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """The whole of it."""
        return self._redactor(super().format(record))


class JsonFormatter(logging.Formatter):
    """For machines: one object a line.

    `time` (UTC, milliseconds), `level`, `logger`, `service`, `pid`, `message`; `positions` where the message names
    any, each as topic[partition]@offset; `exception` with the traceback; and whatever a caller gave as `extra`.
    """

    def __init__(self, service: str, redactor: Redactor) -> None:
        super().__init__()
        self._service = service
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        message = self._redactor(record.getMessage())
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname,
            "logger": record.name,
            "service": self._service,
            "pid": record.process,
            "message": message,
        }
        positions = _POSITION.findall(message)
        if positions:
            found["positions"] = positions
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        found |= {name: self._safe(value) for name, value in extra.items() if name not in found}
        if record.exc_info:
            found["exception"] = self._redactor(self.formatException(record.exc_info))
        return json.dumps(found, ensure_ascii=False)

    def _safe(self, value: object) -> object:
        return value if value is None or isinstance(value, bool | int | float) else self._redactor(str(value))


def configure_logs(level: str, *, service: str = "", style: LogFormat = "console", secrets: Iterable[str] = ()) -> None:
    """Everything that logs does so on stderr: our own from `level` on, libraries from WARNING on.

    As JSON also what would else end up there as plain text: Python's warnings, and what ends a thread or the process.
    """
    redactor = Redactor(secrets)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service, redactor) if style == "json" else ConsoleFormatter(redactor))
    logging.basicConfig(level="WARNING", handlers=[handler], force=True)
    logging.getLogger("lambda_pipeline").setLevel(level)
    if style == "json":
        logging.captureWarnings(True)
        sys.excepthook = _log_end
        threading.excepthook = _log_end_of_thread


def is_for_machines() -> bool:
    """Whether the log is JSON: then nothing else may be printed there."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("ended by an unexpected %s", kind.__name__, exc_info=(kind, error, trace))


def _log_end_of_thread(end: threading.ExceptHookArgs) -> None:
    name = "a thread" if end.thread is None else f"the thread {end.thread.name}"
    error = end.exc_value or end.exc_type()
    log.critical(
        "%s was ended by an unexpected %s",
        name,
        end.exc_type.__name__,
        exc_info=(end.exc_type, error, end.exc_traceback),
    )
