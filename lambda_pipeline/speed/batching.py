"""A micro-batch in the making: records judged as they are fetched, while PostgreSQL commits the batch before."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from lambda_pipeline.domain.log import DeadLetter, Incoming, Record, judge
from lambda_pipeline.domain.observation import Validator
from lambda_pipeline.speed.commit import MicroBatch, Move
from lambda_pipeline.storage.log_partitions import LogPartition

logger = logging.getLogger(__name__)
_MAX_BYTES = 16 * 1024 * 1024  # of values, after which a batch is full: what memory and a commit's time allow
_SHOWN = 3  # dead letters of one fetch that get a line of their own
_SHOWN_CHARACTERS = 300


class BatchBuilder:
    """Collects records up to a size. Not safe to share between threads."""

    def __init__(
        self,
        validator: Validator,
        max_records: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        catalogue_version: int | None = None,
    ) -> None:
        """`clock` gives seconds, for `age`; `catalogue_version` is the one that the validator judges by."""
        self._validator = validator
        self._catalogue_version = catalogue_version
        self._max_records = max_records
        self._clock = clock
        self._start()

    def _start(self) -> None:
        self._observations: list[Incoming] = []
        self._dead: list[DeadLetter] = []
        self._bytes: dict[int, int] = {}  # by log partition
        self._moves: dict[int, Move] = {}
        self._since = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit, not even an offset."""
        return not self._moves

    @property
    def room(self) -> int:
        """How many records more it takes."""
        if sum(self._bytes.values()) >= _MAX_BYTES:
            return 0
        return max(self._max_records - len(self._observations) - len(self._dead), 0)

    @property
    def age(self) -> float:
        """Seconds since its first record came; 0 while it is empty."""
        return self._clock() - self._since if self._moves else 0.0

    def add(self, partition: LogPartition, expected: int, records: Sequence[Record]) -> int:
        """Judge a partition's next records; `expected` is where it went on. Returns where it goes on after them."""
        if not self._moves:
            self._since = self._clock()
        judged = [judge(record, partition.id, self._validator) for record in records]
        self._observations += [one for one in judged if isinstance(one, Incoming)]
        dead = [one for one in judged if isinstance(one, DeadLetter)]
        if dead:
            self._dead += dead
            _report(partition, dead)
        size = sum(len(record.value) for record in records if record.value is not None)
        self._bytes[partition.id] = self._bytes.get(partition.id, 0) + size
        start = self._moves[partition.id].expected if partition.id in self._moves else expected
        self._moves[partition.id] = Move(partition, start, records[-1].offset + 1)
        return records[-1].offset + 1

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget the records of partitions (ids) that are another consumer's now."""
        gone = frozenset(partitions) & self._moves.keys()
        if not gone:
            return
        rest = self._batch().without(gone)
        self._observations, self._dead = list(rest.observations), list(rest.dead_letters)
        self._bytes = {partition: size for partition, size in self._bytes.items() if partition not in gone}
        self._moves = {move.partition.id: move for move in rest.moves}

    def take(self) -> MicroBatch:
        """The batch as it is; the next one starts empty."""
        batch = self._batch()
        self._start()
        return batch

    def judge_by(self, validator: Validator, catalogue_version: int) -> None:
        """Forget everything, and judge by another catalogue from now on."""
        self._validator, self._catalogue_version = validator, catalogue_version
        self._start()

    def _batch(self) -> MicroBatch:
        moves = tuple(self._moves.values())
        return MicroBatch(tuple(self._observations), tuple(self._dead), moves, self._catalogue_version)


def _report(partition: LogPartition, dead: list[DeadLetter]) -> None:
    for letter in dead[:_SHOWN]:
        logger.warning("%s is a dead letter: %s", partition.at(letter.log_offset), letter.error[:_SHOWN_CHARACTERS])
    if len(dead) > _SHOWN:
        more, last = len(dead) - _SHOWN, partition.at(dead[-1].log_offset)
        logger.warning("and %d more dead letters, up to %s", more, last)
