"""Disks that are full: an error that says so and what to do, and everything goes on by itself when there is room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.cli.commands import run
from lambda_pipeline_tests.faults.conftest import MakePlatform
from lambda_pipeline_tests.faults.disks import SmallDisk, small_disk
from lambda_pipeline_tests.faults.polling import assert_each_poll_is_served_once, says, waiting
from lambda_pipeline_tests.faults.stage import SPEED, Platform, Servers, assert_served_is_produced, closing
from lambda_pipeline_tests.processes import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(600)]
_FREE_SPACE = "The disk is full: free some space"


@pytest.fixture
def spool_disk() -> Iterator[SmallDisk]:
    with small_disk(8) as disk:
        yield disk


@pytest.mark.full
def test_the_spools_disk_full_while_kafka_is_away(
    polled: Platform, own_servers: Servers, spool_disk: SmallDisk
) -> None:
    """Then observations wait in memory, and reach Kafka all the same."""
    polled.environment["LAMBDA_HOME"] = str(spool_disk.path / "home")
    spool = spool_disk.path / "home" / "ingest" / "spool.db"
    polled.start(SPEED, LAMBDA_HOME=str(polled.folder / "home"))
    ingest = polled.start("ingest")
    polled.progresses(20)
    own_servers.kafka.stop()
    says(ingest, "they wait in")
    spool_disk.fill()
    says(ingest, "Is the disk full")
    before = sum(polled.stored().values())
    spool_disk.free()
    seconds = wait_for(lambda: "can be written again" in ingest.log, "it stores again")
    wait_for(lambda: len(waiting(spool)) >= 30, "what waited in memory is on the disk")
    durable = waiting(spool)
    own_servers.kafka.start(progress=False)
    says(ingest, "Kafka is back")
    polled.progresses(20)
    assert ingest.stop(15) == 0
    assert "observations are lost" not in ingest.log
    polled.catches_up()
    copies = assert_each_poll_is_served_once(polled, durable)
    assert len(copies) > before
    polled.recovered("spool's disk full, until observations were stored again", seconds)


def test_the_spools_disk_full_while_kafka_is_there(polled: Platform, spool_disk: SmallDisk) -> None:
    polled.environment["LAMBDA_HOME"] = str(spool_disk.path / "home")
    polled.start(SPEED, LAMBDA_HOME=str(polled.folder / "home"))
    ingest = polled.start("ingest")
    polled.progresses(20)
    spool_disk.fill()
    says(ingest, "Is the disk full")
    polled.progresses(40)  # past the disk
    spool_disk.free()
    says(ingest, "can be written again")
    polled.progresses(20)
    assert ingest.stop(15) == 0
    polled.catches_up()
    assert_each_poll_is_served_once(polled, [])


@pytest.mark.full
def test_postgresqls_disk_full_under_load(kafka: KafkaConnection, make_platform: MakePlatform) -> None:
    with small_disk(160) as disk:
        server = EmbeddedPostgres(Home(disk.path / "home"), {"max_wal_size": "48MB", "min_wal_size": "32MB"})
        server.start()
        try:
            with closing(make_platform(server, kafka)) as platform:
                speed = platform.start(SPEED)
                with platform.load() as load:
                    platform.progresses(1_000)
                    disk.fill()
                    wait_for(
                        lambda: "disk is full" in speed.log or "not answering" in speed.log, "speed says what is wrong"
                    )
                    assert speed.alive
                    disk.free()
                    server.start()
                    seconds = platform.progresses(300)
                platform.catches_up()
                assert_served_is_produced(platform, load)
                assert speed.stop(10) == 0
                platform.recovered("PostgreSQL's disk full under load, from its start with room again", seconds)
        finally:
            server.stop(force=True)


@pytest.mark.full
def test_kafkas_disk_full_under_ingest(
    make_platform: MakePlatform, polled: Platform, jars_cache: Path, own_servers: Servers
) -> None:
    """Ingest's spool is on another disk: it takes what Kafka cannot, and gives it back."""
    with small_disk(96) as disk:
        broker = EmbeddedKafka(Home(disk.path / "home"), jars_cache)
        broker.start(progress=False)
        try:
            connection = KafkaConnection(broker.bootstrap_servers)
            with closing(make_platform(own_servers.postgres, connection)) as platform:
                apis = ("LAMBDA_TOMTOM_URL", "LAMBDA_AQICN_URL", "LAMBDA_POLL_INTERVAL", "LAMBDA_TOMTOM_DAILY_QUOTA")
                keys = ("TOMTOM_API_KEY", "AQICN_TOKEN")
                platform.environment |= {name: polled.environment[name] for name in (*apis, *keys)}
                platform.start(SPEED)
                ingest = platform.start("ingest")
                platform.progresses(20)
                disk.fill()
                wait_for(lambda: not broker.is_running() or "they wait in" in ingest.log, "Kafka takes nothing more")
                broker.kill()  # it may be there and take nothing
                says(ingest, "they wait in")
                spool = Path(platform.environment["LAMBDA_HOME"]) / "ingest" / "spool.db"
                wait_for(lambda: len(waiting(spool)) >= 30, "polls are in the spool")
                durable = waiting(spool)
                disk.free()
                broker.start(progress=False)
                seconds = wait_for(lambda: "Kafka is back" in ingest.log, "ingest sends what waited")
                platform.progresses(20)
                assert ingest.stop(15) == 0
                platform.catches_up()
                assert_each_poll_is_served_once(platform, durable)
                platform.recovered("Kafka's disk full, from its start with room again", seconds)
        finally:
            broker.stop(force=True)


def test_a_full_disk_is_named_at_the_start(jars_cache: Path, tmp_path: Path) -> None:
    with small_disk(64) as disk:
        home = Home(disk.path / "home")
        server = EmbeddedPostgres(home)
        disk.fill()
        with pytest.raises(EmbeddedServerError) as refused:
            server.start()
        assert refused.value.next_action.startswith(_FREE_SPACE), refused.value
        said = run(tmp_path, "db", "upgrade", settings={"LAMBDA_HOME": str(home.path)})
        assert said.code == 1
        assert _FREE_SPACE in said.err, said.text
        assert "Traceback" not in said.text
        with pytest.raises(EmbeddedServerError) as refused:
            EmbeddedKafka(home, jars_cache).start(progress=False)
        assert refused.value.next_action.startswith(_FREE_SPACE), refused.value
        disk.free()
        server.start()
        server.stop()
        disk.fill()
        with pytest.raises(EmbeddedServerError) as refused:
            server.start()
        assert refused.value.next_action.startswith(_FREE_SPACE), refused.value
        disk.free()
        server.start()
        server.stop()
