"""What may stand in the log: anything. Each record becomes an observation or a dead letter, and can be stored."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.log import judge
from lambda_pipeline.domain.observation import Validator, encode
from lambda_pipeline_tests.integration.observations import APPENDED, ZONE, FakeRecord, MemoryLog, publish, seen
from lambda_pipeline_tests.security.fuzzing import HOSTILE, anything, damaged, examples, scalars
from lambda_pipeline_tests.servers import HISTORY_START, Database

pytestmark = pytest.mark.integration

CLOCK = CityClock(ZONE)
VALIDATOR = Validator({"Krukut": Location("Krukut")}, CLOCK, CLOCK.day_start(HISTORY_START))
FULL = json.loads(
    encode(
        seen(
            5, aqi=80, speeds=(20.0, 40.0), latitude=-6.16, longitude=106.8, aqi_measured_at=APPENDED,
            dominant_pollutant="pm25", pollutants={"pm25": 80.0}, road_closure=False, attributions=[{"name": "us"}],
        )
    )
)  # fmt: skip
times = st.sampled_from(
    ["2025-06-02T03:05:00Z", "2025-06-02T10:05:00.123456+07:00", "2025-06-02T03:05:00", "0001-01-01T00:00:00+14:00",
     "9999-12-31T23:59:59-14:00", "2025-06-02T24:00:00Z", "2025-06-02T03:05:60Z", "2025-01-01T00:00:00Z", 1748858400]
)  # fmt: skip
changes = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(FULL, scalars | anything),
        "timestamp": times | scalars,
        "location": st.sampled_from(["Krukut", "Cinere", *HOSTILE]),
        "pollutants": st.dictionaries(st.sampled_from(["pm25", "t", *HOSTILE]), scalars, max_size=5),
        "attributions": st.lists(st.dictionaries(st.sampled_from(["name", *HOSTILE]), scalars, max_size=3), max_size=3),
    },
)
payloads = st.one_of(
    changes.map(lambda change: json.dumps(FULL | change).encode("utf-8", "surrogatepass")),
    changes.map(lambda change: json.dumps(FULL | change, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    damaged(json.dumps(FULL).encode()),
    st.binary(max_size=200),
    anything.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.integers(1, 100_000).map(lambda depth: b'{"x":' + b"[" * depth),
    st.none(),
)
clocks = st.sampled_from([int(APPENDED.timestamp() * 1000), -1, 0, 2**63 - 1, -(2**63), 10**15])
keys = st.none() | st.binary(max_size=20)


@examples(60)
@given(st.lists(st.tuples(payloads, clocks, keys), min_size=1, max_size=40))
@example(
    [(json.dumps(FULL | {"location": name}).encode(), int(APPENDED.timestamp() * 1000), b"\0") for name in HOSTILE]
)
def test_both_layers_store_what_they_are_sent_whatever_it_is(
    database: Database, records: list[tuple[bytes | None, int, bytes | None]]
) -> None:
    log = MemoryLog(database)
    for offset, (value, milliseconds, key) in enumerate(records):
        log.records[0].append(FakeRecord(log.topic, 0, offset, milliseconds, key, value))
    judged = [type(judge(record, log.partitions[0].id, log.validator)).__name__ for record in log.records[0]]
    log.consume()
    partition = log.partitions[0].id
    letters = "select count(*) from dead_letters where log_partition = :id"
    assert database.scalar(letters, id=partition) == judged.count("DeadLetter")
    log.store()
    assert database.scalar(letters, id=partition) == judged.count("DeadLetter"), "both layers judge alike"
    stored = database.rows("select distinct hour_start from raw_data where log_partition = :id", id=partition)
    if stored:
        publish(database, *(row.hour_start for row in stored))
    served = "select count(*) from served_observations where layer = 'batch' and log_partition = :id"
    kept = "select count(*) from raw_data where log_partition = :id"
    assert database.scalar(served, id=partition) == database.scalar(kept, id=partition)
    assert database.scalar("select count(*) from realtime_data where log_partition = :id", id=partition) == 0


@examples(300)
@given(payloads, clocks, keys)
def test_a_record_is_judged_alike_each_time(value: bytes | None, milliseconds: int, key: bytes | None) -> None:
    record = FakeRecord("t", 0, 0, milliseconds, key, value)
    assert repr(judge(record, 1, VALIDATOR)) == repr(judge(record, 1, VALIDATOR))
