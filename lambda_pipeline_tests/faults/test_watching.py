"""What health and metrics say while servers are away: waiting is healthy, and the lag shows what waits."""

import pytest

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.home import free_port
from lambda_pipeline.local.simulator import serve
from lambda_pipeline_tests.faults.conftest import Servers
from lambda_pipeline_tests.faults.stage import SEED, SPEED, Platform
from lambda_pipeline_tests.integration.watched import Watched
from lambda_pipeline_tests.processes import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(300)]


def test_without_postgresql_speed_is_healthy_and_its_lag_grows_until_it_is_back(
    own_platform: Platform, own_servers: Servers
) -> None:
    port = free_port()
    speed = Watched(port)
    # So few records a commit that they soon wait in the log itself, where nobody fetches them any more.
    daemon = own_platform.start(SPEED, LAMBDA_SPEED_METRICS_PORT=str(port), LAMBDA_SPEED_MAX_RECORDS="50")
    load = own_platform.load()
    load.send(200)
    wait_for(lambda: speed.health() == (200, "ok") and own_platform.consumed() == 200, "it consumes")
    wait_for(lambda: speed.total("lambda_speed_stored_offset") == 200, "it tells so")
    assert speed.total("lambda_speed_lag_records") == 0
    own_servers.postgres.stop()
    load.send(1000)
    wait_for(lambda: speed.health() == (200, "waiting"), "it waits for PostgreSQL")
    wait_for(lambda: speed.total("lambda_speed_lag_records") == 1000, "the lag is what is not committed")
    load.send(500)
    wait_for(lambda: speed.total("lambda_speed_lag_records") == 1500, "the lag grows although nothing is fetched")
    assert speed.value("lambda_speed_waits_total", server="postgresql") > 0
    assert speed.value("lambda_speed_records_total") == 200
    own_servers.postgres.start()
    own_platform.catches_up()
    wait_for(lambda: speed.health() == (200, "ok"), "it is well")
    wait_for(lambda: speed.total("lambda_speed_lag_records") == 0, "nothing is left")
    assert speed.value("lambda_speed_records_total") == 1700
    assert daemon.stop(10) == 0


def test_without_kafka_ingest_is_healthy_and_its_spool_fills_until_it_is_back(
    own_platform: Platform, own_servers: Servers, jakarta: City
) -> None:
    simulator = serve(jakarta, seed=SEED)
    port = free_port()
    ingest = Watched(port)
    own_servers.kafka.stop()
    daemon = own_platform.start(
        "ingest", TOMTOM_API_KEY="k", AQICN_TOKEN="t", LAMBDA_INGEST_METRICS_PORT=str(port), LAMBDA_POLL_INTERVAL="1",
        LAMBDA_TOMTOM_DAILY_QUOTA="1000000", LAMBDA_TOMTOM_URL=simulator.url, LAMBDA_AQICN_URL=simulator.url,
    )  # fmt: skip
    wait_for(lambda: ingest.health() == (200, "ok"), "it polls")
    wait_for(lambda: ingest.value("lambda_ingest_kafka_up") == 0, "it knows that Kafka is away")
    wait_for(lambda: ingest.value("lambda_ingest_spool_observations") > 20, "the spool fills")
    assert ingest.value("lambda_ingest_spool_bytes") > 20 * 100
    assert ingest.value("lambda_ingest_observations_delivered_total") == 0
    own_servers.kafka.start(progress=False)
    wait_for(lambda: ingest.value("lambda_ingest_kafka_up") == 1, "Kafka has all that waited")
    assert ingest.value("lambda_ingest_observations_delivered_total") > 20
    assert ingest.health() == (200, "ok")
    assert daemon.stop(10) == 0
    simulator.close()


def test_a_daemon_that_starts_without_postgresql_is_healthy_as_it_waits(
    own_platform: Platform, own_servers: Servers
) -> None:
    own_servers.postgres.stop()
    port = free_port()
    speed = Watched(port)
    daemon = own_platform.start(SPEED, LAMBDA_SPEED_METRICS_PORT=str(port))
    wait_for(lambda: speed.health() == (200, "waiting"), "it waits")
    own_servers.postgres.start()
    wait_for(lambda: speed.health() == (200, "ok"), "it works")
    assert daemon.stop(10) == 0


def test_a_frozen_daemon_does_not_answer(platform: Platform) -> None:
    port = free_port()
    speed = Watched(port)
    daemon = platform.start(SPEED, LAMBDA_SPEED_METRICS_PORT=str(port))
    wait_for(lambda: speed.health() == (200, "ok"), "it works")
    daemon.freeze()
    with pytest.raises(OSError, match="timed out"):
        speed.ask("/healthz", timeout=1.0)
    daemon.thaw()
    wait_for(lambda: speed.health() == (200, "ok"), "it works again")
    assert daemon.stop(10) == 0
