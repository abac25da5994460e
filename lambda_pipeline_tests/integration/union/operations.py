"""The platform's transactions, each with what the model says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from lambda_pipeline.batch.days import DayTable, compute_days
from lambda_pipeline.batch.publish import prepare, swap
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.batch.raw_store import Chunk, store_chunk
from lambda_pipeline.domain.observation import Observation
from lambda_pipeline.errors import StaleOffsetsError
from lambda_pipeline.speed.commit import MicroBatch, commit_micro_batch
from lambda_pipeline.storage.dead_letters import prune_letters
from lambda_pipeline.storage.engine import session, transaction
from lambda_pipeline_tests.integration.observations import ZONE
from lambda_pipeline_tests.integration.union.model import STALE, Model

Step = Callable[[Model, Any], Any]  # is handed what the step before it gave


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


def consuming(batch: MicroBatch) -> Operation:
    """The speed layer's commit."""
    moves = {move.partition.id: (move.expected, move.next) for move in batch.moves}

    def run(engine: sa.Engine) -> Any:
        try:
            return commit_micro_batch(engine, batch, ZONE)
        except StaleOffsetsError:
            return STALE

    return Operation(run, (lambda model, _: model.commit(batch.observations, batch.dead_letters, moves),))


def storing(chunk: Chunk) -> Operation:
    """A chunk of raw_data."""
    return Operation(
        lambda engine: store_chunk(engine, chunk),
        (lambda model, _: model.store(chunk.observations, chunk.dead_letters, chunk.moves),),
    )


def importing(observations: list[Observation]) -> Operation:
    """A file's rows."""
    return Operation(
        lambda engine: import_observations(engine, observations, "import:test"),
        (lambda model, _: model.import_rows(observations),),
    )


def publishing(hour: datetime) -> Operation:
    """Prepare and swap of an hour."""

    def run(engine: sa.Engine) -> int | None:
        with session(engine) as connection:
            prepare(connection, [hour], ZONE)
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
