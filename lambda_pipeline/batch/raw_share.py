"""A share of the log's partitions, read, judged and stored by one process: all of them, or one reader's."""

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

import sqlalchemy as sa

from lambda_pipeline.batch.raw_store import Chunk, frontiers, store_chunk
from lambda_pipeline.domain.log import DeadLetter, Incoming, judge
from lambda_pipeline.domain.observation import Validator
from lambda_pipeline.storage.deployment import Deployment, load_deployment
from lambda_pipeline.storage.engine import retrying, transaction
from lambda_pipeline.storage.log_partitions import LogPartition
from lambda_pipeline.stream.reader import LogBounds, LogReader

logger = logging.getLogger(__name__)
CHUNK_RECORDS = 20_000  # of one transaction: bounds memory, and what a crash makes a run do again
LEAST_SHARE = 150_000  # records that are worth a process of their own (`split`)
OnProgress = Callable[[int, int], None]  # (records done, records in all)


@dataclass
class RawRun:
    """What one advance of the frontiers did. `positions` maps "topic[partition]" to (from, to) offsets."""

    records: int = 0
    stored: int = 0
    dead_letters: int = 0
    positions: dict[str, tuple[int, int]] = field(default_factory=dict)
    readers: int = 1

    def add(self, other: "RawRun") -> None:
        """Count in what another reader did, of other partitions."""
        self.records += other.records
        self.stored += other.stored
        self.dead_letters += other.dead_letters
        self.positions |= other.positions


@dataclass(frozen=True, slots=True)
class Share:
    """Partitions of a topic by number, and up to where each is to be read."""

    partitions: dict[int, LogPartition]
    bounds: dict[int, LogBounds]

    def ranges(self, found: Mapping[int, int]) -> dict[int, tuple[int, int]]:
        """[start, end) of what is to be read, with the frontiers by log partition id."""
        return {
            number: (max(found.get(partition.id, 0), self.bounds[number].beginning), self.bounds[number].end)
            for number, partition in self.partitions.items()
        }

    def of(self, numbers: list[int]) -> "Share":
        """Some of its partitions."""
        return Share({n: self.partitions[n] for n in numbers}, {n: self.bounds[n] for n in numbers})


def split(share: Share, found: Mapping[int, int], most: int) -> list[tuple[Share, int]]:
    """For at most so many readers a share each, with the records left of it: as even as whole partitions can be.

    No share has fewer than `LEAST_SHARE` records, unless it is the only one. A process takes half a second to start and
    to connect. On two cores with both servers on them, two were 1.08 times as fast as one for 120,000 records in all,
    1.20 times for 300,000, 1.27 times for 600,000 (`python -m benchmarks.batch --only readers`).
    """
    left = {number: max(0, end - start) for number, (start, end) in share.ranges(found).items()}
    for count in range(min(most, len(left)), 1, -1):
        parts = _even_parts(left, count)
        if min(records for _, records in parts) >= LEAST_SHARE:
            return [(share.of(numbers), records) for numbers, records in parts]
    return [(share, sum(left.values()))]


def _even_parts(left: Mapping[int, int], count: int) -> list[tuple[list[int], int]]:
    """The partitions, the longest first, each to whoever has least so far."""
    parts: list[tuple[list[int], int]] = [([], 0) for _ in range(count)]
    for number in sorted(left, key=lambda number: (-left[number], number)):
        place = min(range(count), key=lambda place: parts[place][1])
        numbers, records = parts[place]
        parts[place] = [*numbers, number], records + left[number]
    return parts


def store_share(engine: sa.Engine, reader: LogReader, share: Share, run: RawRun, on_progress: OnProgress) -> None:
    """Store a share from the frontiers to its bounds, and count what was done in `run`.

    In transactions of at most `CHUNK_RECORDS` records, each of which moves rows and frontiers together, so that
    memory stays flat and a killed process leaves nothing half done. Raises BrokerUnavailableError,
    DatabaseUnavailableError.
    """
    while not _store_ranges(engine, reader, share, run, on_progress):
        logger.info("another run stores the same records, or the catalogue changed: going on from the frontiers")


def _store_ranges(engine: sa.Engine, reader: LogReader, share: Share, run: RawRun, on_progress: OnProgress) -> bool:
    """Store the log from the frontiers to the bounds; False as soon as a chunk was given up (see `store_chunk`).

    A chunk that was given up leaves a hole before the next one, so nothing read after it may be stored.
    """
    with transaction(engine, read_only=True) as database:
        deployment, ranges = load_deployment(database), share.ranges(frontiers(database))
    total = run.records + sum(end - start for start, end in ranges.values())
    under_way: tuple[Chunk, Future[int | None]] | None = None
    with ThreadPoolExecutor(1, "store") as storing:  # PostgreSQL stores a chunk while the next one is read and judged
        for chunk in chain(_chunks(reader, share.partitions, deployment, ranges), [None]):
            if under_way is not None:
                before, future = under_way
                stored = future.result()
                if stored is None:
                    return False
                _count(run, before, stored, share.partitions)
                on_progress(run.records, total)
            if chunk is not None:
                under_way = chunk, storing.submit(retrying, partial(store_chunk, engine, chunk))
    return True


def _chunks(
    reader: LogReader,
    partitions: dict[int, LogPartition],
    deployment: Deployment,
    ranges: dict[int, tuple[int, int]],
) -> Iterator[Chunk]:
    """The records of the ranges, judged, in chunks that each go on where the one before ends."""
    validator, left = deployment.validator(), dict(ranges)
    for batch in reader.read(ranges, CHUNK_RECORDS):
        chunk = _judge_chunk(batch, partitions, validator, left)
        for number in batch:
            left[number] = (chunk.moves[partitions[number].id][1], left[number][1])
        yield replace(chunk, catalogue_version=deployment.catalogue_version)


def _judge_chunk(
    batch: dict[int, list],  # type: ignore[type-arg]
    partitions: dict[int, LogPartition],
    validator: Validator,
    ranges: dict[int, tuple[int, int]],
) -> Chunk:
    observations: list[Incoming] = []
    dead: list[DeadLetter] = []
    moves = {}
    for number, records in batch.items():
        for record in records:
            judged = judge(record, partitions[number].id, validator, for_latest=False)
            if isinstance(judged, Incoming):
                observations.append(judged)
            else:
                dead.append(judged)
        moves[partitions[number].id] = (ranges[number][0], records[-1].offset + 1)
    return Chunk(tuple(observations), tuple(dead), moves)


def _count(run: RawRun, chunk: Chunk, stored: int, partitions: dict[int, LogPartition]) -> None:
    """Note a chunk that was stored."""
    run.stored += stored
    run.records += chunk.records
    run.dead_letters += len(chunk.dead_letters)
    for partition in partitions.values():
        if partition.id in chunk.moves:
            start, end = chunk.moves[partition.id]
            name = f"{partition.topic}[{partition.partition}]"
            run.positions[name] = (run.positions.get(name, (start, 0))[0], end)
