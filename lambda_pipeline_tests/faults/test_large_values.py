"""Values that gzip makes small for Kafka and the client makes large again: the stream goes on, in bounded memory."""

import pytest
from kafka import KafkaProducer

from lambda_pipeline.domain.observation import ObservationMessage, encode
from lambda_pipeline.stream.reader import LogReader
from lambda_pipeline_tests.faults.stage import SPEED, Platform, size
from lambda_pipeline_tests.integration.observations import seen
from lambda_pipeline_tests.processes import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(600)]
MIB = 1024 * 1024
LARGE = b'{"x":"' + b"y" * 8_000_000 + b'"}'  # eight kilobytes in the log


def produce(platform: Platform, *values: ObservationMessage | bytes) -> None:
    """Append to the topic's first partition, compressed."""
    producer = KafkaProducer(
        **platform.connection.client_settings("test"), acks="all", compression_type="gzip",
        max_request_size=2 * len(LARGE),
    )  # fmt: skip
    for value in values:
        producer.send(platform.topic, encode(value) if isinstance(value, ObservationMessage) else value, partition=0)
    producer.flush(60)
    producer.close()


def test_a_flood_of_large_values_is_dead_letters_and_memory_stays_flat(platform: Platform) -> None:
    count = size(40, 150)
    produce(platform, seen(0), *[LARGE] * count, seen(1))
    daemon = platform.start(SPEED)
    peak = 0

    def is_consumed() -> bool:
        nonlocal peak
        peak = max(peak, daemon.memory())
        return platform.stored().get(0) == count + 2

    seconds = wait_for(is_consumed, "the flood is consumed")
    assert daemon.stop() == 0
    assert platform.rows("select count(*) as n, count(distinct payload) as values from dead_letters") == [(count, 1)]
    assert platform.rows("select count(*) from served_observations") == [(2,)]
    assert peak < 400 * MIB  # a flood that is taken in as it comes needs a gigabyte and more
    platform.report(f"{count} values of 8 MB: {seconds:.1f} s, {peak / MIB:.0f} MiB at most")


def test_who_reads_the_log_again_gets_it_in_bounded_pieces(platform: Platform) -> None:
    produce(platform, *[LARGE] * 9, seen(0))
    with LogReader(platform.connection, platform.topic) as reader:
        pieces = [batch[0] for batch in reader.read({0: (0, 10)}, 50_000)]
    assert [record.offset for records in pieces for record in records] == list(range(10))
    assert max(sum(len(record.value or b"") for record in records) for records in pieces) <= 32 * MIB
