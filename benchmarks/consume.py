"""How fast kafka-python hands over a topic's records: alone, or each decoded. The counterpart of peers/c_client.py."""

import json
import sys
import time

from kafka import KafkaConsumer, TopicPartition

from lambda_pipeline.domain.observation import decode
from lambda_pipeline.stream.client import KafkaConnection


def main(wanted: dict) -> None:
    """Read so many records, then say how fast; from the first batch on."""
    consumer = KafkaConsumer(
        **KafkaConnection(wanted["brokers"]).client_settings("bench-consume"),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=5000,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    consumer.assign([TopicPartition(wanted["topic"], number) for number in range(wanted["partitions"])])
    read, started, first = 0, 0.0, 0
    while read < wanted["records"]:
        batches = consumer.poll(timeout_ms=1000)
        if wanted["decode"]:
            for batch in batches.values():
                for record in batch:
                    decode(record.value)
        read += sum(map(len, batches.values()))
        if not started and read:
            started, first = time.monotonic(), read
    seconds = time.monotonic() - started
    consumer.close()
    print(json.dumps({"records": read - first, "seconds": seconds}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
