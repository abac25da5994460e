"""What the tests of the publisher look at: its spool and its lines in the log."""

from collections.abc import Callable
from typing import Any

import pytest

from lambda_pipeline.errors import SpoolUnavailableError
from lambda_pipeline.ingestion.publisher import Publisher
from lambda_pipeline.ingestion.spool import Spool
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline_tests.ingestion.fake_kafka import DEADLINE, seen

MIB = 1 << 20
Make = Callable[..., Publisher]


def waits(publisher: Publisher, count: int) -> None:
    """Until so many are on the disk and none in memory."""
    assert wait_until(lambda: (publisher.counts().spooled, publisher.counts().in_memory) == (count, 0), DEADLINE)


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


class FailingSpool(Spool):
    """A spool on a disk that takes nothing while `error` is set."""

    error: str | None = None

    def append(self, records: Any) -> None:
        self._refuse()
        super().append(records)

    def remove(self, records: Any) -> None:
        self._refuse()
        super().remove(records)

    def set_aside(self, record: Any, reason: str) -> None:
        self._refuse()
        super().set_aside(record, reason)

    def _refuse(self) -> None:
        if self.error:
            raise SpoolUnavailableError(f"The spool {self.path} cannot be read or written: {self.error}.", "Full?")


def encoded(number: int) -> bytes:
    from lambda_pipeline.domain.observation import encode

    return encode(seen(number))
