"""The platform's transactions, each with what the model says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.place import Place
from lambda_pipeline.archive.store import Store
from lambda_pipeline.batch.days import DayTable, compute_days
from lambda_pipeline.batch.publish import prepare, swap
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.batch.raw_retention import drop_archived_months
from lambda_pipeline.batch.raw_store import Chunk, store_chunk
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.observation import Observation
from lambda_pipeline.errors import ArchiveContentionError, ImportRefusedError, StaleCatalogueError, StaleOffsetsError
from lambda_pipeline.ingestion.redrive import AS_IT_IS, Fate, retry_letters
from lambda_pipeline.speed.commit import MicroBatch, commit_micro_batch
from lambda_pipeline.storage.dead_letters import Choice, prune_letters
from lambda_pipeline.storage.engine import session, transaction
from lambda_pipeline.stream.topic import Topic
from lambda_pipeline_tests.integration.observations import ZONE
from lambda_pipeline_tests.integration.union.model import OUTDATED, OVERTAKEN, REFUSED, STALE, Late, Model

Step = Callable[[Model, Any], Any]  # is handed what the step before it gave
RETENTION = timedelta(days=30)
_TOPIC = Topic("observations", UUID(int=0), (0,))


class InTheWayError(Exception):
    """Somebody held a lock, and nothing was done."""


@dataclass(frozen=True)
class Operation:
    """`run` does it and gives its result; each of its transactions does to a model what it does to the tables."""

    run: Callable[[sa.Engine], Any]
    transactions: tuple[Step, ...]


def apply(operation: Operation, model: Model) -> Any:
    """Do it to the model; its result."""
    return apply_with(operation, None, len(operation.transactions), model)[0]


def apply_with(operation: Operation, other: Operation | None, number: int, model: Model) -> tuple[Any, Any]:
    """Do it to the model, and all of another one before its transaction of a number, from 0; both results."""
    result = others = None
    for count, step in enumerate((*operation.transactions, None)):
        if other is not None and count == number:
            others = apply(other, model)
        if step is not None:
            result = step(model, result)
    return result, others


def consuming(batch: MicroBatch, late: Late) -> Operation:
    """The speed layer's commit; `late` are those of its dead letters that only the archive may take."""
    moves = {move.partition.id: (move.expected, move.next) for move in batch.moves}

    def run(engine: sa.Engine) -> Any:
        try:
            return commit_micro_batch(engine, batch, ZONE)
        except StaleOffsetsError:
            return STALE
        except StaleCatalogueError:
            return OUTDATED

    version = batch.catalogue_version
    return Operation(
        run, (lambda model, _: model.commit(batch.observations, batch.dead_letters, moves, version, late),)
    )


def storing(chunk: Chunk, late: Late) -> Operation:
    """A chunk of raw_data; `late` as in `consuming`."""
    version = chunk.catalogue_version
    return Operation(
        lambda engine: store_chunk(engine, chunk),
        (lambda model, _: model.store(chunk.observations, chunk.dead_letters, chunk.moves, version, late),),
    )


def importing(observations: list[Observation]) -> Operation:
    """A file's rows, after its lines were judged."""

    def run(engine: sa.Engine) -> Any:
        try:
            return import_observations(engine, observations, "import:test")
        except ImportRefusedError:
            return REFUSED

    return Operation(run, (lambda model, _: model.import_rows(observations),))


def publishing(hour: datetime, place: Place) -> Operation:
    """Prepare and swap of an hour, with the archive at hand."""

    def run(engine: sa.Engine) -> int | None:
        with session(engine) as connection:
            prepare(connection, [hour], ZONE, None, Store(place))
            return swap(connection, hour, ZONE, "test")

    return Operation(run, (lambda model, _: model.prepare([hour]), lambda model, prepared: model.swap(prepared, hour)))


def pruning() -> Operation:
    """Dead letters are removed, all of them being old; how many is not looked at."""

    def run(engine: sa.Engine) -> None:
        with transaction(engine) as connection:
            prune_letters(connection, 0, 1000)

    return Operation(run, (lambda model, _: model.prune(),))


def computing(table: DayTable, days: tuple[date, date]) -> Operation:
    """A table of the days; how many rows are written is not looked at."""

    def run(engine: sa.Engine) -> None:
        compute_days(engine, table, *days, "test")

    return Operation(run, (lambda model, _: model.compute(table),))


def archiving(day: date, place: Place) -> Operation:
    """A city day's file."""

    def run(engine: sa.Engine) -> Any:
        try:
            manifest = Archive(engine, place).write(day, "test")
        except ArchiveContentionError:
            return OVERTAKEN
        return manifest and manifest.version

    return Operation(run, (_keep, lambda model, _: model.contents(day), lambda model, read: model.archive(day, read)))


def dropping(month: datetime, days: int, place: Place) -> Operation:
    """The oldest month of raw_data, now that it is old enough, and which holds rows of so many days."""
    clock = CityClock(ZONE)
    last = clock.city_date((month + timedelta(days=32)).replace(day=1) - timedelta(microseconds=1))
    now = clock.day_start(last + timedelta(days=1)) + RETENTION

    def run(engine: sa.Engine) -> bool:
        found = drop_archived_months(engine, Archive(engine, place), RETENTION, now)
        if any("being read" in reason for reason in found.kept.values()):
            raise InTheWayError
        return bool(found.dropped)

    return Operation(
        run, (_keep, lambda model, _: model.versions(), *[_keep] * days, lambda model, seen: model.drop(month, seen))
    )


def retrying(gaining: int, place: Place) -> Operation:
    """All open letters; so many days' files are written anew."""

    def send(records: object) -> Any:
        raise AssertionError(f"sent to Kafka: {records}")

    def run(engine: sa.Engine) -> list[tuple[str, bool]]:
        found = list(retry_letters(engine, Choice(), AS_IT_IS, send, _TOPIC, Archive(engine, place).merge))
        return [(one.fate.value, one.is_known) for one in found if one.fate != Fate.INVALID]

    looking: tuple[Step, ...] = (lambda model, _: model.versions(), *[_keep] * gaining)[:gaining]
    return Operation(run, (*looking, lambda model, seen: model.retry(model.versions() if seen is None else seen)))


def _keep(_: Model, found: Any) -> Any:
    """A transaction that changes nothing that anybody sees."""
    return found
