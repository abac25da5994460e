"""Why an API's half of an observation is missing: one error with a kind, transient or terminal, and without a key."""

from enum import StrEnum
from typing import Self

from lambda_pipeline.errors import LambdaPipelineError, TerminalError, TransientError


class ErrorKind(StrEnum):
    """What went wrong. The last three are ours: no question was asked.

    `busy`: no thread was free in time; `open`: the API fails and is left alone for a while; `quota`: the day's
    requests are spread, or used up.
    """

    NETWORK = "network"
    TIMEOUT = "timeout"
    KEY = "key"
    RATE_LIMITED = "rate_limited"
    SERVER = "server"
    NOT_JSON = "not_json"
    SHAPE = "shape"
    NO_STATION = "no_station"
    NO_READING = "no_reading"
    STALE = "stale"
    TOO_FAR = "too_far"
    TOO_LARGE = "too_large"
    HTTP = "http"
    BUSY = "busy"
    OPEN = "open"
    QUOTA = "quota"


_TRANSIENT = frozenset(
    {
        ErrorKind.NETWORK,
        ErrorKind.TIMEOUT,
        ErrorKind.RATE_LIMITED,
        ErrorKind.SERVER,
        ErrorKind.NOT_JSON,
        ErrorKind.NO_READING,
        ErrorKind.STALE,
        ErrorKind.BUSY,
        ErrorKind.OPEN,
        ErrorKind.QUOTA,
    }
)


class SourceError(LambdaPipelineError):
    """An API gave no usable answer. Its text never holds a key.

    Always one of the two subclasses: `TransientSourceError` where the next poll may succeed, else
    `TerminalSourceError`. `source` is the API's name, `detail` what it said, in a few words, `retry_after` the seconds
    for which it asks to be left alone, if it does.
    """

    def __new__(cls, source: str, kind: ErrorKind, detail: str = "", retry_after: float | None = None) -> Self:
        """An error of the subclass that the kind calls for."""
        chosen: type = cls
        if cls is SourceError:
            chosen = TransientSourceError if kind in _TRANSIENT else TerminalSourceError
        return Exception.__new__(chosen, source, kind, detail, retry_after)

    def __init__(self, source: str, kind: ErrorKind, detail: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{source}: {kind.value}" + (f": {detail}" if detail else ""))
        self.source = source
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type, tuple[str, ErrorKind, str, float | None]]:
        """What pickle needs, since the arguments differ from the message."""
        return type(self), (self.source, self.kind, self.detail, self.retry_after)


class TransientSourceError(SourceError, TransientError):
    """The next poll may succeed."""


class TerminalSourceError(SourceError, TerminalError):
    """It stays so until somebody changes the key, the station, the point or the program."""
