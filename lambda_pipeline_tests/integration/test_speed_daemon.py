"""The speed daemon on a real topic: where it goes on, how daemons share, how it stops."""

import logging
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
import sqlalchemy as sa
from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.consumer import ConsumerCoordinator
from kafka.errors import CoordinatorNotAvailableError

from lambda_pipeline.speed import consumer as consumer_module
from lambda_pipeline.speed import membership as membership_module
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.integration.observations import HOUR as THE_HOUR
from lambda_pipeline_tests.integration.observations import keys, seen, served
from lambda_pipeline_tests.integration.speed_daemons import Feed, eventually

pytestmark = pytest.mark.integration


# ---------------------------------------------------------------- where it goes on


def test_it_goes_on_where_postgresql_says(feed: Feed) -> None:
    feed.produce(seen(0, aqi=1), seen(1, aqi=2))
    feed.start()
    feed.wait_for(2)
    feed.stop()
    feed.produce(seen(2, aqi=3))
    feed.start()
    feed.wait_for(3)
    assert feed.offsets() == {0: 3}
    assert served(feed.database) == ("speed", 3, 6, 3, 0, 0)


def test_wherever_kafka_believes_it_to_be(feed: Feed) -> None:
    feed.produce(seen(0), seen(1))
    feed.start()
    feed.wait_for(2)
    feed.stop()
    with transaction(feed.database.writer) as connection:
        connection.execute(sa.text("update stream_offsets set next_offset = 0"))
        connection.execute(sa.text("delete from realtime_data"))
        connection.execute(sa.text("delete from realtime_hourly"))
    feed.start()
    feed.wait_for(2)


@pytest.mark.parametrize("as_is", ["set back", "forgotten"])
def test_idle_it_notices_that_postgresql_was_restored(feed: Feed, monkeypatch: pytest.MonkeyPatch, as_is: str) -> None:
    monkeypatch.setattr(consumer_module, "_CHECK_EVERY", 0.2)
    feed.produce(seen(0), seen(1))
    feed.start()
    feed.wait_for(2)
    with transaction(feed.database.owner) as connection:
        back = "update stream_offsets set next_offset = 1" if as_is == "set back" else "delete from stream_offsets"
        connection.execute(sa.text(back))
        connection.execute(sa.text("delete from realtime_data"))
        connection.execute(sa.text("delete from realtime_hourly"))
    feed.wait_for(1 if as_is == "set back" else 2)
    assert feed.offsets() == {0: 2}


def test_the_groups_offsets_are_committed_for_the_tools_that_watch_lag(feed: Feed) -> None:
    feed.produce(seen(0), seen(1))
    feed.start()
    feed.wait_for(2)
    feed.stop()
    committed = feed.admin.list_group_offsets([feed.group])[feed.group]
    assert committed[TopicPartition(feed.name, 0)].offset == 2


def test_they_are_brought_up_after_a_daemon_that_died_without_telling(feed: Feed) -> None:
    feed.produce(seen(0), seen(1))
    feed.start()
    feed.wait_for(2)
    feed.stop()
    feed.group += "-forgotten"  # a group that Kafka knows nothing of
    feed.start()

    def committed() -> dict[int, int]:
        found = feed.admin.list_group_offsets([feed.group])[feed.group]
        return {tp.partition: known.offset for tp, known in found.items()}

    eventually(lambda: committed() == {0: 2}, "Kafka knows what is stored")


def test_a_quiet_daemon_commits_a_single_record_at_once_and_a_flood_in_large_batches(feed: Feed) -> None:
    feed.start(max_records=500)
    feed.produce(seen(0))
    feed.wait_for(1)
    feed.produce(*(seen(n / 60, "Cinere") for n in range(2000)))
    feed.wait_for(2001)
    eventually(lambda: sum(len(batch.observations) for batch in feed.batches) == 2001, "all batches are reported")
    sizes = [len(batch.observations) for batch in feed.batches]
    assert sizes[0] == 1
    assert max(sizes) <= 500
    assert len(sizes) < 200


# ---------------------------------------------------------------- sharing


def test_two_daemons_share_the_partitions_and_one_takes_over_when_the_other_leaves(feed: Feed) -> None:
    first, second = feed.start(), feed.start()
    eventually(lambda: len(members(feed)) == 2 and all(len(held) == 1 for held in members(feed)), "each has one")
    for partition in range(2):
        feed.produce(*(seen(n, hour=THE_HOUR - timedelta(hours=partition)) for n in range(30)), partition=partition)
    feed.wait_for(60)
    first.stop()
    eventually(lambda: [len(held) for held in members(feed)] == [2], "the other has both")
    feed.produce(seen(30), partition=0)
    feed.produce(seen(31), partition=1)
    feed.wait_for(62)
    assert feed.offsets() == {0: 31, 1: 31}
    second.stop()


def members(feed: Feed) -> list[set[int]]:
    """The partitions of each member of the group; none while the broker still chooses the group's coordinator."""
    try:
        described = feed.admin.describe_groups([feed.group])[feed.group]
    except CoordinatorNotAvailableError:
        return []
    return [
        {number for topic in member["member_assignment"]["assigned_partitions"] for number in topic["partitions"]}
        for member in described["members"]
        if member["member_assignment"]
    ]


def test_having_lost_one_partition_of_two_it_drops_that_ones_records_and_commits_the_others(
    feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    """As a frozen consumer does when it comes back: somebody else consumed partition 0 meanwhile."""
    feed.produce(seen(0), partition=0)
    feed.produce(seen(0, "Cinere"), partition=1)
    feed.start()
    feed.wait_for(2)
    eventually(lambda: feed.offsets() == {0: 1, 1: 1}, "both are stored")
    with transaction(feed.database.writer) as connection:
        connection.execute(
            sa.text(
                "update stream_offsets set next_offset = 2 where log_partition = "
                "(select id from log_partitions where log_id = :log_id and partition = 0)"
            ),
            {"log_id": feed.topic.log_id},
        )
    with caplog.at_level(logging.WARNING):
        feed.produce(seen(1), seen(2), partition=0)
        feed.produce(seen(1, "Cinere"), partition=1)
        feed.wait_for(4)
    assert f"{feed.name}[0]@1 was already consumed by another consumer" in caplog.text
    assert keys(feed.database, "realtime_data") == [("Cinere", 0), ("Krukut", 0), ("Cinere", 1), ("Krukut", 2)]
    assert feed.offsets() == {0: 3, 1: 2}


def test_new_partitions_are_consumed_from_their_start(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership_module, "_METADATA_MS", 500)
    feed.start()
    feed.produce(seen(0))
    feed.wait_for(1)
    feed.admin.create_partitions({feed.name: 4})
    feed.produce(seen(1), partition=2)
    feed.produce(seen(2), seen(3), partition=3)
    feed.wait_for(4)
    assert feed.offsets() == {0: 1, 2: 1, 3: 2}


# ---------------------------------------------------------------- stopping


def test_it_stops_within_five_seconds_under_load(feed: Feed) -> None:
    feed.produce(*(seen(n / 100) for n in range(5000)))
    running = feed.start(max_records=10)
    eventually(lambda: feed.count("realtime_data") > 0, "it commits")
    assert running.stop() < 5
    assert feed.offsets()[0] == feed.count("realtime_data")


def test_it_does_not_poll_busily_while_the_broker_owes_it_an_answer(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.produce(seen(0, aqi=1))
    feed.start()
    feed.wait_for(1)
    polls, poll_once = Counter[str](), KafkaConsumer._poll_once

    def counted(*arguments: object, **options: object) -> object:
        polls["all"] += 1
        return poll_once(*arguments, **options)

    monkeypatch.setattr(KafkaConsumer, "_poll_once", counted)
    monkeypatch.setattr(ConsumerCoordinator, "time_to_next_poll", lambda _: 0)  # a heartbeat is due
    feed.produce(seen(1, aqi=2))
    feed.wait_for(2)  # what comes all the same is taken in
    polls.clear()  # the poll under way knew nothing of it
    started = time.monotonic()
    eventually(lambda: time.monotonic() - started > 1, "a second is over")
    assert 0 < polls["all"] < 100 * (time.monotonic() - started)


def test_it_stops_also_where_kafkas_client_never_comes_to_rest(
    feed: Feed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_over, closing = threading.Event(), KafkaConsumer.close

    def hang(consumer: KafkaConsumer, **options: object) -> None:
        if threading.current_thread().name == "leave":
            is_over.wait(60)
        closing(consumer, **options)

    monkeypatch.setattr(KafkaConsumer, "close", hang)
    try:
        feed.produce(seen(0, aqi=1))
        running = feed.start()
        feed.wait_for(1)
        assert running.stop() < 5
    finally:
        is_over.set()
    assert "Kafka's client does not come to rest" in caplog.text
    assert feed.offsets() == {0: 1}
