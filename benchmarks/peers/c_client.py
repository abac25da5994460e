"""How fast confluent-kafka (librdkafka, in C) hands over a topic's records: alone, or each decoded by our decoder."""

import json
import sys
import time

from confluent_kafka import Consumer, TopicPartition

from lambda_pipeline.domain.observation import decode


def main(wanted: dict) -> None:
    """Read so many records, then say how fast; from the first batch on."""
    consumer = Consumer(
        {
            "bootstrap.servers": wanted["brokers"],
            "group.id": wanted["group"],
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "check.crcs": True,  # kafka-python does
        }
    )
    consumer.assign([TopicPartition(wanted["topic"], number, 0) for number in range(wanted["partitions"])])
    read, started, first = 0, 0.0, 0
    while read < wanted["records"]:
        messages = consumer.consume(5000, timeout=1.0)
        if wanted["decode"]:
            for message in messages:
                decode(message.value())
        read += len(messages)
        if not started and read:
            started, first = time.monotonic(), read
    seconds = time.monotonic() - started
    consumer.close()
    print(json.dumps({"records": read - first, "seconds": seconds}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
