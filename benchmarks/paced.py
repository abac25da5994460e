"""A producer at a fixed rate, as a process: `-m benchmarks.paced BROKERS TOPIC LOCATIONS START RATE SECONDS FILE`.

Open loop: message n is due at n / rate whatever happened before, and its latency counts from when it was due, so that
a stall cannot hide the messages that it held up. The file gets one line a message: partition, offset and the due
instant on the machine's monotonic clock.
"""

import sys
import time
from datetime import datetime
from pathlib import Path

from kafka import KafkaProducer

from benchmarks.load import PRODUCER
from benchmarks.observations import Stream, make_city
from lambda_pipeline.domain.observation import encode
from lambda_pipeline.stream.client import KafkaConnection

LINGER_MS = 2  # the latency is the platform's, not the producer's patience (the product's ingest waits up to 20 ms)


def main(brokers: str, topic: str, locations: str, start: str, rate: str, seconds: str, file: str) -> None:
    """Send, and write down what became of each message."""
    stream = Stream(make_city(int(locations)), datetime.fromisoformat(start))
    producer = KafkaProducer(
        **KafkaConnection(brokers).client_settings("bench-paced"), **{**PRODUCER, "linger_ms": LINGER_MS}
    )
    messages = [stream.message(number) for number in range(int(rate) * int(seconds))]
    records = [(message.location.encode(), encode(message)) for message in messages]
    producer.partitions_for(topic)  # so that the first message need not ask
    sent = []
    began = time.monotonic() + 0.1
    for number, (key, value) in enumerate(records):
        due = began + number / int(rate)
        while (wait := due - time.monotonic()) > 0:
            time.sleep(wait)
        sent.append((due, producer.send(topic, key=key, value=value)))
    lines = []
    for due, future in sent:
        metadata = future.get(timeout=30)
        lines.append(f"{metadata.partition} {metadata.offset} {due}\n")
    Path(file).write_text("".join(lines), encoding="utf-8")
    producer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
