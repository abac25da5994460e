"""Whether the log may lose records before the batch layer has read them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from lambda_pipeline.batch.raw_store import load_frontiers
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.log_partitions import known_partitions
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogReader
from lambda_pipeline.stream.topic import find_retention, find_topic


@dataclass(frozen=True, slots=True)
class Retention:
    """What was found: `unread` records wait in the log for the batch layer."""

    passed: bool
    text: str
    unread: int


def check_retention(engine: sa.Engine, connection: KafkaConnection, topic_name: str, now: datetime) -> Retention:
    """Whether everything that batch has not read is younger than half of the topic's retention at `now` (aware UTC).

    Raises BrokerUnavailableError, DatabaseUnavailableError.
    """
    topic = find_topic(connection, topic_name)
    if topic is None:
        return Retention(True, f"There is no topic {topic_name} yet.", 0)
    retention = find_retention(connection, topic_name)
    with transaction(engine, read_only=True) as database:
        known = known_partitions(database, topic.log_id)
    frontiers = load_frontiers(engine)
    with LogReader(connection, topic_name) as reader:
        bounds = reader.bounds(topic.partitions)
        old = {} if retention is None else reader.offsets_at(topic.partitions, now - retention / 2)
    # A partition that nobody has read yet begins where the log begins.
    read = {number: bounds[number].beginning for number in topic.partitions}
    read |= {number: frontiers[one.id] for number, one in known.items() if number in read and one.id in frontiers}
    unread = sum(max(bound.end - max(read[number], bound.beginning), 0) for number, bound in bounds.items())
    gone = [number for number, bound in bounds.items() if read[number] < bound.beginning]
    if gone:
        where = ", ".join(f"{topic_name}[{number}]@{read[number]}" for number in gone)
        return Retention(False, f"The log has dropped records that batch had not read, from {where} on.", unread)
    late = [number for number, offset in old.items() if read[number] < offset]
    if late and retention is not None:
        where = ", ".join(f"{topic_name}[{number}]@{read[number]}" for number in late)
        return Retention(
            False,
            f"{where}: records older than {_hours(retention / 2)} wait for batch, and the log keeps them for "
            f"{_hours(retention)}. Materialize raw_data before they are gone.",
            unread,
        )
    kept = "for ever" if retention is None else f"for {_hours(retention)}"
    return Retention(True, f"{unread} records wait for batch; the log keeps them {kept}.", unread)


def _hours(span: timedelta) -> str:
    return f"{span.total_seconds() / 3600:g} hours"
