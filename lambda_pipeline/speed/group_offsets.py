"""The group's offsets in Kafka: written for the tools that watch lag, and never read here."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

logger = logging.getLogger(__name__)
_EVERY = 1.0  # seconds between two commits
_PATIENCE = 10.0  # seconds after which an answer counts as lost


class GroupOffsets:
    """Tells Kafka what is stored in PostgreSQL, again and again until the broker has taken it. For one thread."""

    def __init__(self, consumer: Any, topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._consumer = consumer
        self._topic = topic
        self._clock = clock
        self._due: dict[int, int] = {}  # by partition number: what Kafka does not know
        self._next = 0.0  # when to commit again
        self._answers: deque[tuple[dict[int, int], object]] = deque()  # filled by Kafka's client
        self._asked_until: float | None = None  # when the commit under way counts as lost

    def note(self, offsets: Mapping[int, int]) -> None:
        """These are stored."""
        self._due |= offsets

    def forget(self, numbers: Iterable[int]) -> None:
        """These partitions are another consumer's to tell about."""
        for number in numbers:
            self._due.pop(number, None)

    def report(self) -> None:
        """Commit what is due, every now and then, without waiting for the answer."""
        self._take_answers()
        now = self._clock()
        if not self._due or now < (self._next if self._asked_until is None else self._asked_until):
            return
        offsets = dict(self._due)
        self._next, self._asked_until = now + _EVERY, now + _PATIENCE
        self._consumer.commit_async(
            self._named(offsets), callback=lambda _, answer: self._answers.append((offsets, answer))
        )

    def close(self, seconds: float) -> None:
        """Commit what is due, and wait for the answer for so long."""
        self._take_answers()
        try:
            if self._due:
                self._consumer.commit(self._named(self._due), timeout_ms=seconds * 1000)
        except KafkaError as error:
            logger.info("the group's offsets in Kafka stay behind until the next start: %s", error)

    def _take_answers(self) -> None:
        while self._answers:
            offsets, answer = self._answers.popleft()
            self._asked_until = None
            if isinstance(answer, Exception):
                logger.debug("Kafka does not take the group's offsets: %s", answer)
                continue
            for number, offset in offsets.items():
                if self._due.get(number) == offset:
                    del self._due[number]

    def _named(self, offsets: Mapping[int, int]) -> dict[TopicPartition, OffsetAndMetadata]:
        return {
            TopicPartition(self._topic, number): OffsetAndMetadata(offset, "", -1) for number, offset in offsets.items()
        }
