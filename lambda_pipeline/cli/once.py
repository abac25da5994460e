"""`demo --once`: the whole way without the browser parts, and the balance of every hour."""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.table import Table

from lambda_pipeline.cli import common
from lambda_pipeline.cli.history import recent_days, write_history
from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.ingestion.aqicn import AqicnClient
from lambda_pipeline.ingestion.breaker import NEVER_LEFT_ALONE
from lambda_pipeline.ingestion.http import FAST_FORWARD, create_session
from lambda_pipeline.ingestion.poller import Poller
from lambda_pipeline.ingestion.publisher import Publisher
from lambda_pipeline.ingestion.schedule import aligned_slot
from lambda_pipeline.ingestion.spool import Spool
from lambda_pipeline.ingestion.tomtom import TomTomClient
from lambda_pipeline.local import processes
from lambda_pipeline.local.demo import HourBalance, balance
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.services import Services
from lambda_pipeline.local.simulator import SimulatorServer, serve
from lambda_pipeline.local.stack import Addresses, Stack
from lambda_pipeline.local.supervisor import Supervisor
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.log_partitions import register_partitions
from lambda_pipeline.stream.reader import LogReader
from lambda_pipeline.stream.topic import Topic, ensure_topic

if TYPE_CHECKING:
    from lambda_pipeline.settings import Settings

STEP = timedelta(seconds=60)
MINUTES = 70  # so that at least one closed hour travels the whole way
CONSUME_SECONDS = 120.0


def run_once(settings: "Settings", seed: int) -> bool:
    """Write history, poll the last 70 minutes through Kafka and both layers, print the balance; whether it adds up.

    Raises EmbeddedServerError where a part does not do its work in time.
    """
    home = Home(settings.home)
    stack = Stack(settings, home)
    stack.fetch_jars()
    with home.lock("demo --once"), Supervisor(home) as supervisor:
        supervisor.start(stack.servers)
        supervisor.raise_if_stopped()
        stack.prepare(STEP)
        stack.settle_origin(is_simulated=True)
        addresses = stack.addresses()
        topic = ensure_topic(addresses.connection(), settings.kafka_topic, settings.kafka_partitions)
        engine = make_engine(addresses.writer_url, "once", BATCH_TIMEOUTS)
        services = Services(stack, STEP, seed)
        supervisor.start([services.speed()])
        newest = aligned_slot(common.utc_now(), STEP)
        slots = [newest - STEP * number for number in reversed(range(MINUTES))]
        write_history(stack, seed, slots[0], STEP, typer.echo)
        typer.echo(f"The last {MINUTES} minutes, polled from the simulated APIs through Kafka …")
        published = _poll(settings, seed, slots, addresses)
        supervisor.raise_if_stopped()
        _wait_consumed(engine, addresses, topic, supervisor)
        supervisor.raise_if_stopped()
        typer.echo(f"{published} observations published and consumed. The closed hours through batch …")
        services.backfill(supervisor, *recent_days(settings), closed_only=True)
        found = balance(engine, addresses.connection(), settings.kafka_topic)
        engine.dispose()
    _print(found, settings)
    return bool(found) and all(hour.adds_up for hour in found)


def _poll(settings: "Settings", seed: int, slots: Sequence[datetime], addresses: Addresses) -> int:
    """Poll every slot as if it were now, over real HTTP; returns how many observations Kafka acknowledged."""
    simulator: SimulatorServer = serve(settings.city, seed)
    session = create_session(FAST_FORWARD)
    poller = Poller(
        TomTomClient(session, simulator.url, "simulated"),
        AqicnClient(session, simulator.url, "simulated"),
        timedelta(seconds=settings.stale_reading_seconds),
        breaker=NEVER_LEFT_ALONE,
    )
    spool = Spool(settings.spool_path, settings.spool_max_mb << 20)
    publisher = Publisher(addresses.connection().client_settings("once"), settings.kafka_topic, spool)
    try:
        with ThreadPoolExecutor(16) as pool:
            for slot in slots:
                simulator.clock = lambda slot=slot: slot  # type: ignore[misc]
                for message in pool.map(lambda place, slot=slot: poller.poll(place, slot), settings.city.locations):
                    if message is not None:
                        publisher.publish(message)
        publisher.flush(30)
        counts = publisher.counts()
    finally:
        publisher.close()
        poller.close()
        simulator.close()
    if counts.refused or counts.pending:
        raise EmbeddedServerError(f"Kafka did not take {counts.refused + counts.pending} observations.", "See its log.")
    return counts.delivered


def _wait_consumed(engine: sa.Engine, addresses: Addresses, topic: Topic, supervisor: Supervisor) -> None:
    """Until the speed layer has consumed the whole log."""
    with transaction(engine) as database:
        partitions = register_partitions(database, topic.log_id, topic.name, list(topic.partitions))
    with LogReader(addresses.connection(), topic.name) as reader:
        ends = {partitions[number].id: found.end for number, found in reader.bounds(topic.partitions).items()}

    def consumed() -> bool:
        supervisor.tick()
        with transaction(engine, read_only=True) as database:
            rows = database.execute(sa.text("select log_partition, next_offset from stream_offsets")).all()
        stored = {row.log_partition: row.next_offset for row in rows}
        return all(stored.get(number, 0) >= end for number, end in ends.items()) or supervisor.stop_requested

    if not processes.wait_until(consumed, CONSUME_SECONDS, interval=0.1):
        raise EmbeddedServerError(
            f"The speed layer did not consume the log within {CONSUME_SECONDS:.0f} s.", "See speed.log."
        )


def _print(found: Sequence[HourBalance], settings: "Settings") -> None:
    clock = settings.city.clock()
    table = Table(title=f"{settings.city.name}: every hour, in observations", title_justify="left")
    table.add_column("hour")
    for name in ("produced", "speed", "batch", "served"):
        table.add_column(name, justify="right")
    table.add_column("")
    for hour in found:
        numbers = (str(number) for number in (hour.produced, hour.speed, hour.batch, hour.served))
        verdict = "adds up" if hour.adds_up else "[red]DOES NOT ADD UP[/red]"
        table.add_row(f"{clock.local(hour.hour_start):%Y-%m-%d %H:%M %Z}", *numbers, verdict)
    totals = [sum(getattr(hour, name) for hour in found) for name in ("produced", "speed", "batch", "served")]
    table.add_section()
    table.add_row("all", *map(str, totals), "")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
