"""Advancing raw_data along a real Kafka topic: once, in chunks, past poison, retention and recreated topics."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from lambda_pipeline.batch import raw_share
from lambda_pipeline.batch.publish import hours_to_publish
from lambda_pipeline.batch.raw_data import advance_raw_data
from lambda_pipeline.batch.raw_share import RawRun
from lambda_pipeline.batch.raw_store import Chunk, load_frontiers
from lambda_pipeline.domain.observation import encode
from lambda_pipeline.errors import BrokerUnavailableError, LogGapError
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.topic import find_topic
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
    HOUR,
    MALFORMED,
    contents,
    keys,
    publish,
    seen,
    served,
)
from lambda_pipeline_tests.integration.streams import Stream
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


# ---------------------------------------------------------------- everything, once


def test_every_record_is_stored_once(stream: Stream) -> None:
    stream.produce(*(seen(minute) for minute in range(0, 10)), partition=0)
    stream.produce(*(seen(minute) for minute in range(5, 20)), partition=1)
    run = stream.advance()
    assert (run.records, run.stored, run.dead_letters) == (25, 20, 0)
    assert run.positions == {f"{stream.name}[0]": (0, 10), f"{stream.name}[1]": (0, 15)}
    assert keys(stream.database, "raw_data") == [("Krukut", minute) for minute in range(20)]
    assert stream.frontiers() == [(0, 10), (1, 15)]


def test_a_second_run_stores_nothing(stream: Stream) -> None:
    stream.produce(seen(0), seen(6), MALFORMED)
    stream.advance()
    before = contents(stream.database)
    assert stream.advance() == RawRun()
    assert contents(stream.database) == before


def test_a_run_goes_on_where_the_last_one_stopped(stream: Stream) -> None:
    stream.produce(seen(0))
    stream.advance()
    stream.produce(seen(6), seen(12))
    run = stream.advance()
    assert (run.records, run.stored, run.positions) == (2, 2, {f"{stream.name}[0]": (1, 3)})


def test_records_are_stored_in_chunks_that_each_move_the_frontier(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_share, "CHUNK_RECORDS", 3)
    sizes: list[int] = []
    frontiers: list[int] = []
    real = raw_share.store_chunk

    def watched(engine: sa.Engine, chunk: Chunk) -> int | None:
        stored = real(engine, chunk)
        sizes.append(len(chunk.observations))
        frontiers.append(sum(load_frontiers(engine).values()))
        return stored

    monkeypatch.setattr(raw_share, "store_chunk", watched)
    stream.produce(*(seen(minute) for minute in range(10)), partition=0)
    stream.produce(*(seen(minute, "Cinere") for minute in range(10)), partition=1)
    run = stream.advance()
    assert run.stored == 20
    assert max(sizes) <= 3
    assert frontiers == [sum(sizes[: step + 1]) for step in range(len(sizes))]
    assert stream.frontiers() == [(0, 10), (1, 10)]


def test_poison_goes_to_the_dead_letters_and_the_run_goes_on(stream: Stream) -> None:
    stream.produce(seen(0), MALFORMED, None, b"\xff\x00", seen(6, "Atlantis"), seen(6))
    run = stream.advance()
    assert (run.records, run.stored, run.dead_letters) == (6, 2, 4)
    kept = stream.database.rows("select log_offset, payload, error from dead_letters order by log_offset")
    assert [(row.log_offset, row.payload) for row in kept] == [
        (1, MALFORMED),
        (2, None),
        (3, b"\xff\x00"),
        (4, encode(seen(6, "Atlantis"))),
    ]
    assert "'Atlantis' is not in the catalogue" in kept[-1].error
    assert stream.frontiers() == [(0, 6)]


def test_only_poison_moves_the_frontier_too(stream: Stream) -> None:
    stream.produce(MALFORMED, MALFORMED)
    assert stream.advance().dead_letters == 2
    assert stream.frontiers() == [(0, 2)]
    assert stream.advance() == RawRun()


def test_a_topic_that_does_not_exist_yet_stores_nothing(database: Database, kafka: KafkaConnection) -> None:
    before = contents(database)
    assert advance_raw_data(database.writer, kafka, "no-such-topic") == RawRun()
    assert contents(database) == before


def test_an_empty_topic_stores_nothing(stream: Stream) -> None:
    assert stream.advance() == RawRun()
    assert stream.frontiers() == []


def test_a_broker_that_is_away_is_named(database: Database) -> None:
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1 is not answering"):
        advance_raw_data(database.writer, KafkaConnection("127.0.0.1:1", {"bootstrap_timeout_ms": 200}), "t")


# ---------------------------------------------------------------- runs at the same time


def interrupt_first_chunk(monkeypatch: pytest.MonkeyPatch, interruption: Callable[[Chunk], Any]) -> None:
    """Have something happen between the first chunk's reading and its storing."""
    real, pending = raw_share.store_chunk, [interruption]

    def interrupted(engine: sa.Engine, chunk: Chunk) -> int | None:
        if pending:
            pending.pop()(chunk)
        return real(engine, chunk)

    monkeypatch.setattr(raw_share, "store_chunk", interrupted)


def test_a_run_that_another_one_overtook_stores_nothing(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    stream.produce(*(seen(minute) for minute in range(5)))
    overtaking: list[RawRun] = []
    interrupt_first_chunk(monkeypatch, lambda _: overtaking.append(stream.advance()))
    run = stream.advance()
    assert (run.records, run.stored) == (0, 0)
    assert [other.stored for other in overtaking] == [5]
    assert stream.database.scalar("select sum(rows) from raw_hours") == 5


def test_a_run_leaves_no_hole_where_another_one_stored_a_part_and_died(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_share, "CHUNK_RECORDS", 4)
    real = raw_share.store_chunk
    stream.produce(*(seen(minute) for minute in range(12)))

    def store_two_and_die(chunk: Chunk) -> None:
        (partition,) = chunk.moves
        real(stream.database.writer, Chunk(chunk.observations[:2], (), {partition: (0, 2)}))

    interrupt_first_chunk(monkeypatch, store_two_and_die)
    run = stream.advance()
    assert run.stored == 10
    assert keys(stream.database, "raw_data") == [("Krukut", minute) for minute in range(12)]
    assert stream.frontiers() == [(0, 12)]


def test_a_chunk_given_up_for_one_partition_leaves_no_hole_in_the_other(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.produce(*(seen(minute) for minute in range(6)), partition=0)
    stream.produce(*(seen(minute, "Cinere") for minute in range(6)), partition=1)
    real = raw_share.store_chunk

    def store_the_other(chunk: Chunk) -> None:
        partition = next(iter(chunk.moves))
        own = tuple(one for one in chunk.observations if one.log_partition == partition)
        real(stream.database.writer, Chunk(own, (), {partition: chunk.moves[partition]}))

    interrupt_first_chunk(monkeypatch, store_the_other)
    stream.advance()
    assert len(keys(stream.database, "raw_data")) == 12
    assert stream.frontiers() == [(0, 6), (1, 6)]


# ---------------------------------------------------------------- retention


def test_what_retention_took_comes_out_of_the_speed_layer(stream: Stream) -> None:
    stream.produce(seen(0, aqi=10), seen(6, aqi=20))
    stream.advance()
    publish(stream.database, HOUR)
    stream.produce(seen(12, aqi=30), seen(18, aqi=40), MALFORMED, seen(24, aqi=50))
    stream.consume(6)
    stream.expire(6)
    run = stream.advance()
    assert run == RawRun()
    assert stream.frontiers() == [(0, 6)]
    assert keys(stream.database, "raw_data") == [("Krukut", minute) for minute in (0, 6, 12, 18, 24)]
    assert [hour.hour_start for hour in hours_to_publish(stream.database.writer, DAY, DAY_AFTER)] == [HOUR]
    assert publish(stream.database, HOUR) == [3]
    assert served(stream.database) == ("batch", 5, 150, 5, 0, 0)


def test_what_retention_took_before_the_first_run_comes_out_of_the_speed_layer(stream: Stream) -> None:
    stream.produce(seen(0, aqi=10), seen(6, aqi=20), seen(12, aqi=30))
    stream.consume(3)
    stream.expire(2)
    stream.advance()
    assert keys(stream.database, "raw_data") == [("Krukut", minute) for minute in (0, 6, 12)]
    assert publish(stream.database, HOUR) == [3]
    assert served(stream.database) == ("batch", 3, 60, 3, 0, 0)


def test_what_nobody_read_is_an_error_that_names_the_offsets(stream: Stream) -> None:
    stream.produce(*(seen(minute) for minute in range(10)))
    stream.consume(2)
    stream.advance()
    stream.produce(*(seen(minute) for minute in range(10, 20)))
    stream.consume(13)
    stream.expire(17)
    before = contents(stream.database)
    with pytest.raises(LogGapError, match=rf"{stream.name}\[0\]@13 to 17 are gone") as caught:
        stream.advance()
    assert "--accept-loss" in caught.value.next_action
    assert contents(stream.database) == before


def test_an_accepted_loss_is_noted_and_the_rest_is_stored(stream: Stream) -> None:
    stream.produce(*(seen(minute, aqi=1) for minute in range(10)))
    stream.consume(2)
    stream.expire(5)
    run = stream.advance(accept_loss=True)
    assert run.stored == 5
    gaps = stream.database.rows("select from_offset, to_offset, layer from log_gaps")
    assert [tuple(row) for row in gaps] == [(2, 5, "batch")]
    assert keys(stream.database, "raw_data") == [("Krukut", minute) for minute in (0, 1, 5, 6, 7, 8, 9)]
    assert publish(stream.database, HOUR) == [2]
    assert served(stream.database) == ("batch", 7, 7, 7, 0, 0)
    assert stream.advance(accept_loss=True) == RawRun()


def test_a_gap_of_one_partition_is_no_reason_to_lose_the_other(stream: Stream) -> None:
    stream.produce(seen(0), seen(1), partition=0)
    stream.produce(seen(2), seen(3), partition=1)
    stream.advance()
    stream.produce(seen(4), seen(5), partition=0)
    stream.produce(seen(6), seen(7), partition=1)
    stream.expire(3, partition=0)
    run = stream.advance(accept_loss=True)
    assert run.stored == 3
    gaps = stream.database.rows("select from_offset, to_offset from log_gaps")
    assert [tuple(row) for row in gaps] == [(2, 3)]


def test_a_log_that_nobody_has_read_yet_begins_where_it_begins(stream: Stream) -> None:
    stream.produce(*(seen(minute) for minute in range(5)))
    stream.expire(3)
    run = stream.advance()
    assert run.positions == {f"{stream.name}[0]": (3, 5)}
    assert stream.database.scalar("select count(*) from log_gaps") == 0


# ---------------------------------------------------------------- recreated topics


def test_a_recreated_topic_is_a_new_log(stream: Stream) -> None:
    stream.produce(seen(0), seen(6))
    stream.advance()
    old = find_topic(stream.connection, stream.name)
    stream.recreate()
    new = find_topic(stream.connection, stream.name)
    assert old is not None
    assert new is not None
    assert old.log_id != new.log_id
    stream.produce(seen(6), seen(12))
    run = stream.advance()
    assert (run.records, run.stored) == (2, 1)
    assert stream.frontiers() == [(0, 2), (0, 2)]
    found = stream.database.rows("select log_id from log_partitions where topic = :name order by id", name=stream.name)
    assert [row.log_id for row in found] == [old.log_id] * 2 + [new.log_id] * 2


def test_what_was_consumed_of_a_topic_that_is_gone_comes_out_of_the_speed_layer(stream: Stream) -> None:
    stream.produce(seen(0, aqi=10), seen(6, aqi=20))
    stream.advance()
    stream.produce(seen(12, aqi=30), seen(18, aqi=40))
    stream.consume(3)
    stream.recreate()
    stream.advance()
    assert [hour.hour_start for hour in hours_to_publish(stream.database.writer, DAY, DAY_AFTER)] == [HOUR]
    assert publish(stream.database, HOUR) == [3]
    assert served(stream.database) == ("batch", 3, 60, 3, 0, 0)
    assert keys(stream.database, "realtime_data") == []
