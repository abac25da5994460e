"""Taking in so many bytes of values at a time, and no more.

All limits of Kafka's count compressed bytes, of which gzip makes a thousand times as many: a fetch of a megabyte may be
a gigabyte of values. What bounds memory is therefore counted here, value by value, as the client unpacks them.
"""

import sys
from contextlib import suppress
from itertools import takewhile
from typing import Any

from kafka.serializer import Deserializer

_BEYOND = object()  # stands for a value that did not fit


class Intake(Deserializer):  # type: ignore[misc]
    """Polls a consumer for at most `max_bytes` of values, or a single one that is larger. For one thread.

    To be that consumer's `value_deserializer`. The client unpacks record by record, so a value that does not fit is
    garbage at once; the consumer then goes back to it, and is asked for fewer records until values are small again.
    Memory holds one batch of the log beside that, which the client unpacks whole.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._most = sys.maxsize  # records that should fit
        self._asked = 0  # records of this poll
        self._size = self._largest = 0  # of what it has unpacked
        self._is_full = False

    def deserialize(self, topic: str, headers: Any, data: bytes | None) -> Any:
        """Called by the client for each value: the value, or a mark in its place where it does not fit."""
        if data is None:
            return None
        size = len(data)
        if size > self._largest:  # noqa: PLR1730 - max() would take as long as all the rest
            self._largest = size
        if self._size and self._size + size > self._max_bytes:
            self._is_full = self._asked > 1
        self._size += size
        return _BEYOND if self._is_full else data

    def poll(self, consumer: Any, milliseconds: int, max_records: int) -> dict[Any, list[Any]]:
        """What the consumer's `poll` gives, as far as it fits. Raises what that raises."""
        self._asked = min(self._most, max_records)
        self._size, self._largest, self._is_full = 0, 0, False
        polled = consumer.poll(timeout_ms=milliseconds, max_records=self._asked)
        taken = _go_back(consumer, polled) if self._is_full else polled
        if polled and not taken:  # the client unpacks also what a batch holds before the record that was asked for
            self._most = 1
        elif self._largest:
            self._most = max(min(max(self._most, 2 * self._asked), self._max_bytes // self._largest), 1)
        return taken


def _go_back(consumer: Any, polled: dict[Any, list[Any]]) -> dict[Any, list[Any]]:
    """What fitted; the consumer will read the rest again."""
    taken = {}
    for tp, records in polled.items():
        fitting = list(takewhile(lambda record: record.value is not _BEYOND, records))
        if len(fitting) < len(records):
            with suppress(ValueError, KeyError):  # taken away meanwhile: another consumer goes on with it
                consumer.seek(tp, records[len(fitting)].offset)
        if fitting:
            taken[tp] = fitting
    return taken
