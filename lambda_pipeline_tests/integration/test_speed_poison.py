"""Whatever comes, the stream goes on, and what is no observation is kept whole."""

import random

import msgspec
import pytest
from kafka import KafkaProducer, codec
from kafka.admin import ConfigResource, ConfigResourceType

from lambda_pipeline.domain.log import DeadLetter, judge
from lambda_pipeline.domain.observation import encode
from lambda_pipeline.errors import CorruptLogError
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.integration.observations import APPENDED, FakeRecord, seen
from lambda_pipeline_tests.integration.speed_daemons import Feed, eventually

pytestmark = pytest.mark.integration


def test_whatever_comes_the_stream_goes_on_and_exactly_the_poison_is_in_the_dead_letters(feed: Feed) -> None:
    rng = random.Random(20251124)
    values = [poisoned(rng, number) for number in range(1500)]
    with transaction(feed.database.writer) as connection:
        validator = load_deployment(connection).validator()
    milliseconds = int(APPENDED.timestamp() * 1000)
    judged = [judge(FakeRecord("t", 0, n, milliseconds, b"k", v), 1, validator) for n, v in enumerate(values)]
    poison = {number: value for number, value in enumerate(values) if isinstance(judged[number], DeadLetter)}
    valid = {(one.observation.location, one.observation.timestamp) for one in judged if not isinstance(one, DeadLetter)}
    assert 300 < len(poison) < 1200
    feed.produce(*values)
    feed.start(max_records=200)
    feed.wait_for(len(poison), "dead_letters")
    eventually(lambda: feed.offsets().get(0) == len(values), "all is consumed")
    kept = feed.database.rows("select log_offset, payload, key, error from dead_letters")
    assert {row.log_offset: row.payload for row in kept} == poison
    assert all(row.error and row.key == b"key" for row in kept)
    assert feed.count("realtime_data") == len(valid)


def poisoned(rng: random.Random, number: int) -> bytes | None:
    """A message, as it is or damaged in one way."""
    fields = msgspec.json.decode(encode(seen(number % 60, aqi=number % 500, speeds=(20.0, 40.0))))
    fields["unknown_field"] = {"is": "ignored"}
    valid = msgspec.json.encode(fields)
    cut = rng.randrange(len(valid))
    odd = [None, "1", -1, 1e308, [], {}, True, "\0", "2999-01-01T00:00:00Z", "\ud7ff" * 300]
    damages: list[bytes | None] = [
        None,
        b"",
        rng.randbytes(rng.randrange(1, 40)),
        b"[" * rng.randrange(1, 5000),
        valid[:cut],
        valid[:cut] + bytes([rng.randrange(256)]) + valid[cut + 1 :],
        valid.replace(b'"aqi_value":', b'"aqi_value":NaN,"x":'),
        valid.replace(b'"schema_version":1', b'"schema_version":2'),
        msgspec.json.encode(fields | {rng.choice(list(fields)): rng.choice(odd)}),
        msgspec.json.encode(fields | {rng.choice(list(fields)): rng.choice(odd)}),
    ]
    return rng.choice(damages + [valid] * len(damages))


def test_a_value_of_ten_megabytes_is_a_dead_letter_like_any_other(feed: Feed) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, feed.name, configs={"max.message.bytes": "12000000"})
    feed.admin.alter_configs([resource])
    large = b'{"x":"' + b"y" * 10_000_000 + b'"}'
    feed.produce(seen(0), large, seen(1))
    feed.start()
    feed.wait_for(2)
    assert feed.database.scalar("select payload from dead_letters") == large
    assert str(feed.database.scalar("select error from dead_letters")).startswith("value of 10000008 bytes")


def test_a_compression_that_is_not_known_here_stops_it_with_what_to_do(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client would not come back from its second attempt at such a batch."""
    producer = KafkaProducer(**feed.connection.client_settings("test"), compression_type="gzip")
    producer.send(feed.name, encode(seen(0)), partition=0)
    producer.flush(60)
    producer.close()
    monkeypatch.setattr(codec, "has_gzip", lambda: False)
    error = feed.start().ended()
    assert isinstance(error, CorruptLogError)
    assert "gzip compression codec not found" in str(error)
    assert "Install the Python library for it" in error.next_action
