"""quixstreams with its PostgreSQL sink, as its documentation says to use it: the topic into a table with our key.

The argument: brokers, topic, group, records, database settings, and what to pass to Application. The clock starts at
the first record that the sink is given and stops at the end of its last flush: starting up is not in it.
"""

import json
import sys
import time

from quixstreams import Application
from quixstreams.sinks.community.postgresql import PostgreSQLSink


class TimedSink(PostgreSQLSink):
    """The sink, which also notes when its first record came, when its last flush ended, and how many it flushed."""

    first = last = 0.0
    records = 0

    def add(self, *args: object, **kwargs: object) -> None:
        """Take a record into the batch."""
        self.first = self.first or time.monotonic()
        super().add(*args, **kwargs)

    def flush(self) -> None:
        """Write all partitions' batches."""
        records = sum(batch.size for batch in self._batches.values())
        super().flush()
        if records:
            self.records, self.last = self.records + records, time.monotonic()


def main(wanted: dict) -> None:
    """Sink so many records, then say how fast."""
    app = Application(
        broker_address=wanted["brokers"],
        consumer_group=wanted["group"],
        auto_offset_reset="earliest",
        auto_create_topics=False,
        loglevel="WARNING",
        **wanted["application"],
    )
    # The stored row wins and a repeated one is dropped, as with ours: with its default the second delivery of a record
    # would stop the application at our key.
    sink = TimedSink(
        **wanted["database"],
        password="",
        table_name="observations",
        schema_auto_update=False,
        include_metadata=False,
        on_conflict_do_nothing=True,
    )
    app.dataframe(app.topic(wanted["topic"])).sink(sink)
    app.run(count=wanted["records"], collect=False)
    print(json.dumps({"records": sink.records, "seconds": sink.last - sink.first}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
