"""Everybody at once: speed daemons, a publisher and an importer, and readers that look at every instant they can."""

import signal
from dataclasses import replace

import pytest

from lambda_pipeline_tests.faults.load import CountedLoad, Key, Values
from lambda_pipeline_tests.faults.readers import helpers, import_on, publish_on
from lambda_pipeline_tests.faults.stage import SEED, SPEED, Platform, assert_served, size
from lambda_pipeline_tests.processes import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(600)]

_BOTH = "select from served_hourly where layer = 'both' limit 1"


def test_every_snapshot_of_every_reader_adds_up_and_no_total_ever_dips(platform: Platform) -> None:
    seconds, rate = size(10, 60), size(600, 800)
    with helpers() as group:
        load = CountedLoad(platform.connection, platform.topic, platform.locations, SEED, rate, produced=group.produced)
        rows = load.plan_import(size(300, 2000))
        daemons = [platform.start(SPEED) for _ in range(3)]
        wait_for(lambda: all("consuming" in daemon.log for daemon in daemons), "the daemons consume")
        group.read(platform.url, count=2)
        group.start(publish_on, platform.url, platform.connection.bootstrap_servers, platform.topic)
        group.start(import_on, platform.url, rows, group.produced)
        with load:
            wait_for(lambda: load.sent >= seconds * rate / 2 or group.has_failed(), "half of the load is produced")
            wait_for(lambda: platform.rows(_BOTH) or group.has_failed(), "some hour is served out of both layers")
            daemons[0].send(signal.SIGKILL)
            platform.start(SPEED)
            wait_for(lambda: load.sent >= seconds * rate or group.has_failed(), "the load is produced", deadline=180)
        platform.catches_up()
        wait_for(lambda: _is_published(platform, load.imported) or group.has_failed(), "what was imported is served")
        *readers, publisher, importer = group.stop()
    log = load.expected()
    assert importer.total == len(rows)
    assert_served(platform, replace(log, observations=load.imported | log.observations))
    assert min(reader.snapshots for reader in readers) >= size(10, 50)
    layers = readers[0].layers + readers[1].layers
    platform.report(
        f"readers: {sum(reader.snapshots for reader in readers)} snapshots of {load.sent} records and {len(rows)} "
        f"imported rows, {publisher.total} hours published in {publisher.snapshots} runs; layers {dict(layers)}"
    )


def _is_published(platform: Platform, imported: dict[Key, Values]) -> bool:
    served = {
        (row.location, row.timestamp) for row in platform.rows("select location, timestamp from served_observations")
    }
    return imported.keys() <= served
