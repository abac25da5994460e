"""The daemons: `ingest`, `speed`, and the simulator that stands in for both APIs."""

import logging
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

import typer

from lambda_pipeline.cli import common
from lambda_pipeline.errors import BrokerUnavailableError, SettingsError
from lambda_pipeline.garbage import rare_collection

if TYPE_CHECKING:
    import threading

    from lambda_pipeline.domain.catalogue import City
    from lambda_pipeline.ingestion.poller import Poller
    from lambda_pipeline.ingestion.quota import QuotaLedger
    from lambda_pipeline.settings import Settings

log = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(ingest)
    app.command()(speed)
    app.command(hidden=True)(simulator)


def ingest(
    simulated: bool = typer.Option(False, "--simulated", hidden=True, help="The APIs are the demo's simulator."),
) -> None:
    """Poll TomTom and AQICN for every location of the city and publish to Kafka, until stopped.

    Needs TOMTOM_API_KEY and AQICN_TOKEN.
    """
    settings = common.start("ingest")
    from lambda_pipeline.cli.signs import IngestSigns
    from lambda_pipeline.ingestion import daemon
    from lambda_pipeline.ingestion.metrics import IngestMetrics
    from lambda_pipeline.ingestion.publisher import Publisher
    from lambda_pipeline.ingestion.spool import Spool
    from lambda_pipeline.local.stack import running_stack
    from lambda_pipeline.monitoring.endpoint import watched
    from lambda_pipeline.storage.daemons import Heartbeat
    from lambda_pipeline.stream.topic import ensure_topic

    require_keys(settings)
    interval = poll_interval(settings, settings.city)
    with (
        running_stack(settings, "ingest", prepared=False) as stack,
        common.stop_on_signals() as stop,
        watched("ingest", settings.metrics_host, settings.ingest_metrics_port) as monitor,
    ):
        common.persist(partial(stack.prepare, interval), stop, monitor.pulse)
        common.persist(partial(stack.settle_origin, is_simulated=simulated), stop, monitor.pulse)
        connection = stack.addresses().connection()
        prepare = partial(ensure_topic, connection, settings.kafka_topic, settings.kafka_partitions)
        try:
            prepare()  # a topic that does not fit should stop it here
        except BrokerUnavailableError as error:
            log.warning("%s Polling begins all the same.", error)
        ledger = make_ledger(settings, is_simulated=simulated)
        poller = make_poller(settings, ledger, interval, stop)
        spool = Spool(settings.spool_path, settings.spool_max_mb << 20)
        publisher = Publisher(connection.client_settings("ingest"), settings.kafka_topic, spool, prepare=prepare)
        demand = polled_locations(settings.city)
        monitor.registry.register(
            IngestMetrics(poller.counters, publisher, spool, ledger.used, demand=demand, interval=interval)
        )
        signs = IngestSigns(poller.counters, ledger, publisher, spool, settings.home)
        try:
            with Heartbeat(stack.addresses().writer_url, "ingest", signs.describe, stop):
                daemon.run(
                    settings.city.locations, poller, publisher,
                    interval=interval, now=common.utc_now, stop=stop, used=ledger.used, on_turn=monitor.pulse.beat,
                )  # fmt: skip
        finally:
            publisher.close()
            poller.close()
            ledger.close()


class ResetTo(StrEnum):
    """Where to go on when the log does not hold the stored offset."""

    EARLIEST = "earliest"
    LATEST = "latest"


def speed(
    reset_to: ResetTo | None = typer.Option(
        None, help="Where the log does not hold the stored offset (any more): go on at its beginning or its end."
    ),
) -> None:
    """Consume the topic and make each observation visible within a second, until stopped.

    Any number of these may run at once; they share the topic's partitions.
    """
    settings = common.start("speed")
    from lambda_pipeline.cli.signs import SpeedSigns
    from lambda_pipeline.local.stack import running_stack
    from lambda_pipeline.monitoring.endpoint import watched
    from lambda_pipeline.speed.consumer import SpeedDaemon, SpeedOptions
    from lambda_pipeline.speed.gaps import reset_offsets
    from lambda_pipeline.speed.metrics import SpeedMetrics
    from lambda_pipeline.storage.daemons import Heartbeat
    from lambda_pipeline.storage.engine import COMMIT_TIMEOUTS, make_engine
    from lambda_pipeline.stream.topic import ensure_topic

    with (
        running_stack(settings, "speed", prepared=False) as stack,
        common.stop_on_signals() as stop,
        watched("speed", settings.metrics_host, settings.speed_metrics_port) as monitor,
    ):
        pulse, metrics = monitor.pulse, SpeedMetrics(monitor.registry)
        common.persist(stack.make_ready, stop, pulse)
        addresses, connection = stack.addresses(), stack.addresses().connection()
        make_topic = partial(ensure_topic, connection, settings.kafka_topic, settings.kafka_partitions)
        topic = common.persist(make_topic, stop, pulse)
        engine = make_engine(addresses.writer_url, "speed", COMMIT_TIMEOUTS)
        options = SpeedOptions(
            settings.kafka_consumer_group, settings.speed_max_records, settings.speed_max_wait_seconds
        )
        try:
            if reset_to is not None:
                reset = partial(reset_offsets, engine, connection, topic, reset_to.value)
                changed = common.persist(reset, stop, pulse)
                log.warning("--reset-to %s: %s", reset_to, "; ".join(changed) or "the log holds all stored offsets")
            signs = SpeedSigns()

            def consume() -> None:
                SpeedDaemon(engine, connection, topic, options, signs.on_commit, metrics=metrics, pulse=pulse).run(stop)

            with rare_collection(), Heartbeat(addresses.writer_url, "speed", signs.describe, stop):
                common.persist(consume, stop, pulse)
        finally:
            engine.dispose()


def simulator(
    port: int = typer.Option(..., help="Port to listen on, at 127.0.0.1."),
    seed: int = typer.Option(1, help="The same seed gives the same city."),
) -> None:
    """Answer like TomTom and AQICN for the city's catalogue. `demo` starts it."""
    settings = common.start("simulator")
    from lambda_pipeline.local.simulator import run_forever

    with common.stop_on_signals() as stop:
        run_forever(settings.city, seed, port=port, stop=stop)


def make_ledger(settings: "Settings", *, is_simulated: bool) -> "QuotaLedger":
    """What remembers the requests of today in the data folder. The simulator has no quotas."""
    from lambda_pipeline.ingestion.quota import QuotaLedger

    quotas = {"tomtom": settings.tomtom_daily_quota, "aqicn": settings.aqicn_daily_quota}
    return QuotaLedger(settings.home / "ingest" / "quota.json", {} if is_simulated else quotas, common.utc_now)


def make_poller(settings: "Settings", ledger: "QuotaLedger", interval: timedelta, stop: "threading.Event") -> "Poller":
    """A poller on the addresses and keys of the settings; an API without a key is not asked.

    `stop` ends the waiting between its attempts.
    """
    from lambda_pipeline.ingestion.aqicn import AqicnClient
    from lambda_pipeline.ingestion.http import HttpPolicy, create_session
    from lambda_pipeline.ingestion.poller import Poller, workers_for
    from lambda_pipeline.ingestion.quota import QuotaPace
    from lambda_pipeline.ingestion.tomtom import TomTomClient

    demand = polled_locations(settings.city)
    workers = workers_for(max(demand.values()), interval)
    policy = HttpPolicy(pool_size=len(demand) * workers)  # enough also where one address stands in for both APIs
    session = create_session(policy, wait=stop.wait, spend=ledger.spend)
    key, token = settings.tomtom_api_key, settings.aqicn_token
    return Poller(
        TomTomClient(session, settings.tomtom_base_url, key.get_secret_value()) if key else None,
        AqicnClient(session, settings.aqicn_base_url, token.get_secret_value()) if token else None,
        timedelta(seconds=settings.stale_reading_seconds),
        workers=workers,
        paces={source: QuotaPace(ledger, source, number, interval) for source, number in demand.items()},
    )


def polled_locations(city: "City") -> dict[str, int]:
    """How many locations each API is asked about."""
    return {
        "tomtom": sum(place.latitude is not None for place in city.locations),
        "aqicn": sum(place.aqicn_station is not None for place in city.locations),
    }


def poll_interval(settings: "Settings", city: "City") -> timedelta:
    """The set interval, or the shortest that keeps the catalogue within the daily quotas."""
    from lambda_pipeline.ingestion.schedule import default_interval

    demand = polled_locations(city)
    return settings.poll_interval or default_interval(
        (demand["tomtom"], settings.tomtom_daily_quota), (demand["aqicn"], settings.aqicn_daily_quota)
    )


def require_keys(settings: "Settings") -> None:
    """Raise SettingsError that says which keys are missing, where to get them, and that `demo` needs none."""
    missing = []
    if settings.tomtom_api_key is None:
        missing.append("TOMTOM_API_KEY (free at developer.tomtom.com)")
    if settings.aqicn_token is None:
        missing.append("AQICN_TOKEN (free at aqicn.org/data-platform/token)")
    if missing:
        raise SettingsError(
            f"missing: {' and '.join(missing)}.",
            "Put them into .env or the environment. `lambda-pipeline demo` needs no keys.",
        )
