"""The speed daemon when the log changes under it: records gone, cut short, recreated."""

import logging

import pytest
import sqlalchemy as sa
from kafka.errors import OffsetOutOfRangeError

from lambda_pipeline.batch.raw_data import advance_raw_data
from lambda_pipeline.errors import LogGapError
from lambda_pipeline.speed.gaps import reset_offsets
from lambda_pipeline.speed.membership import Membership
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.log_partitions import register_partitions
from lambda_pipeline.stream.topic import ensure_topic
from lambda_pipeline_tests.integration.observations import HOUR as THE_HOUR
from lambda_pipeline_tests.integration.observations import MemoryLog, publish, seen, served
from lambda_pipeline_tests.integration.speed_daemons import Feed, eventually

pytestmark = pytest.mark.integration


def test_records_that_left_the_log_unread_stop_it_and_the_error_says_how_to_go_on(feed: Feed) -> None:
    feed.produce(*(seen(n) for n in range(3)))
    feed.start()
    feed.wait_for(3)
    feed.stop()
    feed.produce(*(seen(n) for n in range(3, 9)))
    feed.expire(7)
    error = feed.start().ended()
    assert isinstance(error, LogGapError)
    assert f"{feed.name}[0]@3 to 7 (4 records) left the log before the speed layer read them" in str(error)
    assert "lambda-pipeline speed --reset-to earliest" in error.next_action
    assert feed.offsets()[0] == 3
    assert feed.gaps() == []


@pytest.mark.parametrize(("to", "lost", "observations"), [("earliest", [(0, 3, 7, "speed")], 5), ("latest", None, 3)])
def test_reset_goes_on_and_notes_what_is_passed_over(
    feed: Feed, to: str, lost: list[tuple[int, int, int, str]] | None, observations: int
) -> None:
    feed.produce(*(seen(n) for n in range(3)))
    feed.produce(seen(0, "Cinere"), partition=1)
    feed.start()
    feed.wait_for(4)
    feed.stop()
    feed.produce(*(seen(n) for n in range(3, 9)))
    feed.produce(seen(1, "Cinere"), partition=1)
    feed.expire(7)
    assert len(reset_offsets(feed.database.writer, feed.connection, feed.topic, to)) == 1  # type: ignore[arg-type]
    feed.start()
    feed.wait_for(observations + 2)
    assert feed.gaps() == (lost or [(0, 3, 7, "speed"), (0, 7, 9, "speed")])
    eventually(lambda: feed.offsets() == {0: 9, 1: 2}, "the offsets are stored")


def test_reset_leaves_alone_what_the_log_holds(feed: Feed) -> None:
    feed.produce(seen(0), seen(1))
    feed.start()
    feed.wait_for(2)
    feed.stop()
    feed.produce(seen(2))
    before = feed.offsets()
    assert reset_offsets(feed.database.writer, feed.connection, feed.topic, "earliest") == []
    assert feed.offsets() == before
    assert feed.gaps() == []


def test_a_new_consumer_may_begin_at_the_end(feed: Feed) -> None:
    feed.produce(seen(0), seen(1))
    reset_offsets(feed.database.writer, feed.connection, feed.topic, "latest")
    feed.produce(seen(2))
    feed.start()
    feed.wait_for(1)
    assert feed.gaps() == [(0, 0, 2, "speed")]


def test_what_speed_passed_over_is_a_loss_to_the_batch_layer_once_the_log_has_lost_it_too(feed: Feed) -> None:
    feed.produce(*(seen(n) for n in range(3)))
    feed.start()
    feed.wait_for(3)
    feed.stop()
    feed.produce(*(seen(n) for n in range(3, 9)))
    feed.expire(7)
    reset_offsets(feed.database.writer, feed.connection, feed.topic, "earliest")
    feed.start()
    feed.wait_for(5)
    feed.stop()
    with pytest.raises(LogGapError, match=r"\[0\]@3 to 7 are gone"):
        advance_raw_data(feed.database.writer, feed.connection, feed.name)
    advance_raw_data(feed.database.writer, feed.connection, feed.name, accept_loss=True)
    assert feed.gaps() == [(0, 3, 7, "batch"), (0, 3, 7, "speed")]
    publish(feed.database, THE_HOUR)
    assert served(feed.database) == ("batch", 5, 0, 0, 0, 0)


def test_a_log_that_lost_records_under_a_running_consumer_is_noticed(feed: Feed) -> None:
    feed.produce(seen(0))
    membership = Membership(feed.database.writer, feed.connection, feed.topic, feed.group)
    try:
        eventually(lambda: fetch(membership) == 1, "the first record is handed out")
        feed.produce(*(seen(n) for n in range(1, 6)))
        feed.expire(4)
        with pytest.raises(OffsetOutOfRangeError):
            eventually(lambda: fetch(membership) > 0, "the broker refuses the offset")
        with transaction(feed.database.writer) as connection:
            connection.execute(sa.text("insert into stream_offsets select id, 0 from log_partitions"))
        with pytest.raises(LogGapError, match=r"\[0\]@0 to 4 \(4 records\)"):
            membership.explain_refusal({})
    finally:
        membership.close(1.0)


def fetch(membership: Membership) -> int:
    """How many records one round brings."""
    membership.sync()
    membership.take_up()
    return sum(len(records) for _, records in membership.poll(0.1, 100))


def test_a_log_that_was_cut_short_stops_it_and_goes_on_as_another_incarnation(feed: Feed) -> None:
    """Records 0 to 4 were consumed, stored, and of them the log has lost 3 and 4, whose offsets others get."""
    feed.produce(*(seen(n, aqi=1) for n in range(3)))
    feed.start()
    feed.wait_for(3)
    feed.stop()
    advance_raw_data(feed.database.writer, feed.connection, feed.name)
    publish(feed.database, THE_HOUR)
    with transaction(feed.database.writer) as connection:
        connection.execute(sa.text("update stream_offsets set next_offset = 5 where next_offset = 3"))
        connection.execute(sa.text("update raw_frontier set next_offset = 5 where next_offset = 3"))
    error = feed.start().ended()
    assert isinstance(error, LogGapError)
    assert f"{feed.name}[0] was read up to 5, but its log was cut short at 3" in str(error)
    with pytest.raises(LogGapError, match="cut short"):
        advance_raw_data(feed.database.writer, feed.connection, feed.name)

    reset_offsets(feed.database.writer, feed.connection, feed.topic, "earliest")
    feed.start()
    feed.produce(seen(7, aqi=1), seen(8, aqi=1))
    feed.wait_for(2)
    assert served(feed.database) == ("both", 5, 5, 5, 0, 0)
    advance_raw_data(feed.database.writer, feed.connection, feed.name)
    assert publish(feed.database, THE_HOUR) == [2]
    assert served(feed.database) == ("batch", 5, 5, 5, 0, 0)
    assert feed.gaps() == []  # all that was cut off had been read


@pytest.mark.parametrize(("stored", "frontier"), [(6, 4), (4, 6), (6, 0), (0, 6)])
def test_whichever_layer_had_read_more_of_a_log_that_was_cut_short_every_observation_counts_once(
    feed: Feed, stored: int, frontier: int
) -> None:
    """Of six records the log has lost the last; others get its offsets, in the same hour."""
    log = CutLog(feed, stored, frontier)
    assert isinstance(feed.start().ended(), LogGapError)
    with pytest.raises(LogGapError, match="cut short"):
        advance_raw_data(feed.database.writer, feed.connection, feed.name)
    reset_offsets(feed.database.writer, feed.connection, feed.topic, "earliest")
    feed.start()
    feed.produce(seen(20, aqi=1), seen(21, aqi=1))
    eventually(lambda: feed.offsets().get(0) == 7, "the new log is consumed")
    advance_raw_data(feed.database.writer, feed.connection, feed.name)
    publish(feed.database, THE_HOUR)
    assert served(feed.database) == ("batch", log.distinct + 2, log.distinct + 2, log.distinct + 2, 0, 0)


class CutLog:
    """A topic of five records, of which both layers have read as many as told, and one more that is gone."""

    def __init__(self, feed: Feed, stored: int, frontier: int) -> None:
        feed.produce(*(seen(minute, aqi=1) for minute in range(5)))
        memory = MemoryLog(feed.database, topic=feed.name)
        memory.append(*(seen(minute, aqi=1) for minute in range(6)))
        with transaction(feed.database.owner) as connection:
            mine = register_partitions(connection, feed.topic.log_id, feed.name, [0, 1])
        memory.partitions = {0: mine[0]}
        memory.consume(stored) if stored else None
        memory.store(frontier) if frontier else None
        self.distinct = 6


def test_what_the_broker_says_about_a_cut_is_remembered_when_the_log_has_grown_again(feed: Feed) -> None:
    feed.produce(*(seen(minute, aqi=1) for minute in range(3)))
    feed.start()
    feed.wait_for(3)
    feed.stop()
    membership = Membership(feed.database.writer, feed.connection, feed.topic, feed.group)
    try:
        eventually(lambda: fetch(membership) == 0 and membership.holds == 2, "it holds both partitions")
        with pytest.raises(LogGapError, match=r"\[0\] was read up to 3, but its log was cut short at 2"):
            membership.explain_refusal({0: 2})
    finally:
        membership.close(1.0)
    assert isinstance(feed.start().ended(), LogGapError)
    reset_offsets(feed.database.writer, feed.connection, feed.topic, "earliest")
    feed.produce(seen(9, aqi=1))
    feed.start()
    feed.wait_for(4)


def test_a_reset_to_the_end_of_a_log_that_was_cut_short_notes_what_it_passes_over(feed: Feed) -> None:
    CutLog(feed, 6, 0)
    reset_offsets(feed.database.writer, feed.connection, feed.topic, "latest")
    assert feed.gaps() == [(0, 0, 5, "speed")]
    assert feed.offsets()[0] == 5


def test_a_reset_beside_a_daemon_that_goes_on_leaves_it_alone(feed: Feed) -> None:
    feed.produce(*(seen(n / 100) for n in range(3000)))
    feed.start(max_records=20)
    eventually(lambda: bool(feed.offsets()), "it consumes")
    for _ in range(5):
        assert reset_offsets(feed.database.writer, feed.connection, feed.topic, "earliest") == []
    feed.wait_for(3000)
    assert feed.database.scalar("select max(incarnation) from log_partitions") == 0
    assert feed.gaps() == []


def test_a_topic_that_is_recreated_under_it_stops_it(feed: Feed) -> None:
    feed.produce(seen(0), seen(1))
    running = feed.start()
    feed.wait_for(2)
    feed.admin.delete_topics([feed.name])
    eventually(lambda: feed.name not in feed.admin.list_topics(), "the topic is gone")
    recreated = ensure_topic(feed.connection, feed.name, 2)
    error = running.ended()
    assert isinstance(error, LogGapError)
    assert "was deleted and created anew" in str(error)
    assert "lambda-pipeline speed" in error.next_action
    assert recreated.log_id != feed.topic.log_id


def test_a_recreated_topic_is_a_new_log_read_from_its_start(feed: Feed, caplog: pytest.LogCaptureFixture) -> None:
    feed.produce(seen(0), seen(1))
    feed.start()
    feed.wait_for(2)
    feed.stop()
    feed.admin.delete_topics([feed.name])
    eventually(lambda: feed.name not in feed.admin.list_topics(), "the topic is gone")
    feed.topic = ensure_topic(feed.connection, feed.name, 2)
    feed.produce(seen(2), seen(3), seen(4))
    with caplog.at_level(logging.WARNING):
        feed.start()
        feed.wait_for(5)
    assert "is a new log and is read from its start" in caplog.text
    assert f"{feed.name}[0]@2" in caplog.text
    assert feed.offsets() == {0: 3}
