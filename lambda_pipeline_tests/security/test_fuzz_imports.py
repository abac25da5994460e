"""What a file to be imported may hold: anything. It is refused whole, or each row is stored, known or rejected."""

import gzip
import io
import tracemalloc
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lambda_pipeline.batch import file_import
from lambda_pipeline.batch.file_import import KNOWN, import_file
from lambda_pipeline.errors import ImportRefusedError
from lambda_pipeline_tests.security.fuzzing import HOSTILE, damaged, examples, hostile_text
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

HEADER = "timestamp,location,latitude,longitude,aqi_value,traffic_level,current_speed,free_flow_speed,road_closure"
LINE = "2025-03-03T07:00:00+07:00,Cinere,-6.3,106.7,120,,30.5,60,false"
GOOD = f"{HEADER}\n{LINE}\n".encode()


def imported(database: Database, path: Path, content: bytes, **options: Any) -> None:
    """Import a file; whatever it holds, what is stored is what the report says."""
    path.write_bytes(content)
    before = database.scalar("select count(*) from raw_data")
    assert isinstance(before, int)
    try:
        report = import_file(database.writer, path, **options)
    except ImportRefusedError as error:
        if len(str(error)) > 5000:
            raise
        assert database.scalar("select count(*) from raw_data") == before, "nothing of a refused file is stored"
        return
    assert report.known_before >= 0
    assert database.scalar("select count(*) from raw_data") == before + report.stored
    assert (report.reject_file is not None) is (report.rejected > 0)


cells = st.one_of(
    hostile_text,
    st.sampled_from(
        ["Cinere", "2025-03-03T07:00:00+07:00", "120", "30.5", '"', '""', ",", "\n", "\r", ";", "\t", "\ufeff"]
    ),
)
quoted = cells.map(lambda text: '"' + text.replace('"', '""') + '"')
rows = st.lists(cells | quoted, max_size=11).map(",".join)
columns = st.lists(st.sampled_from([*KNOWN, *HOSTILE]), max_size=11).map(",".join)
headers = st.one_of(st.just(HEADER), columns)
texts = st.tuples(headers, st.lists(st.just(LINE) | rows, max_size=6)).map(
    lambda parts: "\n".join([parts[0], *parts[1]])
)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "latin-1"])
files = st.one_of(
    st.binary(max_size=300),
    damaged(GOOD),
    st.tuples(texts, encodings).map(lambda pair: pair[0].encode(pair[1], "replace")),
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
)


@examples(120)
@given(files, st.booleans(), st.sampled_from(["data.csv", "data.csv.gz", "data.parquet", "=cmd;x.csv"]), st.booleans())
@example(GOOD, False, "data.csv", False)
@example(b"timestamp,location\r2025-03-03T07:00,Cinere", False, "data.csv", False)
@example(f"{HEADER}\n2025-03-03T07:00:00,\x00,,,,,,,\n".encode(), False, "data.csv", True)
@example(f"{HEADER}\n0001-01-01T00:00:00+14:00,Cinere,,,,,,,\n".encode(), False, "data.csv", True)
@example(f"{HEADER}\n2025-03-03T07:00,Cinere,nan,inf,1e400,٣,-0,1e-320,f\n".encode(), False, "data.csv", True)
def test_any_csv_is_taken_or_refused(
    database: Database, tmp_path: Path, content: bytes, is_packed: bool, name: str, adds: bool
) -> None:
    imported(database, tmp_path / name, gzip.compress(content) if is_packed else content, add_locations=adds)


def parquet(**columns: pa.Array) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


MOMENT = pa.array([datetime.fromisoformat("2025-03-03T00:00:00+00:00")])
PARQUET = parquet(timestamp=MOMENT, location=pa.array(["Cinere"]), aqi_value=pa.array([120]))


@examples(120)
@given(damaged(PARQUET))
def test_a_damaged_parquet_file_is_taken_or_refused(database: Database, tmp_path: Path, content: bytes) -> None:
    imported(database, tmp_path / "data.parquet", content)


FAR = [-(2**62), 2**62]
ODD = {
    "integers": pa.array([1, 2]),
    "floats": pa.array([1.5, float("nan")]),
    "texts": pa.array(["2025-03-03T07:00", "\x00"]),
    "bytes": pa.array([b"\xff", b""]),
    "days": pa.array([0, 20_000], pa.date32()),
    "milliseconds far away": pa.array(FAR, pa.timestamp("ms")),
    "microseconds far away": pa.array(FAR, pa.timestamp("us", "UTC")),
    "nanoseconds far away": pa.array(FAR, pa.timestamp("ns", "UTC")),
    "an unknown zone": pa.array([0, 1], pa.timestamp("us", "Nowhere/At_all")),
    "times of day": pa.array([0, 1], pa.time64("us")),
    "durations": pa.array([0, 2**60], pa.duration("us")),
    "lists": pa.array([["Cinere"], []]),
    "structs": pa.array([{"a": 1}, None]),
    "decimals": pa.array([None, 10], pa.decimal128(38, 2)),
    "nulls": pa.nulls(2),
    "dictionary": pa.array(["Cinere", "Krukut"]).dictionary_encode(),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("column", ["timestamp", "location", "aqi_value", "latitude", "road_closure"])
def test_a_parquet_column_of_any_type_is_taken_or_refused(
    database: Database, tmp_path: Path, column: str, kind: str
) -> None:
    good = {"timestamp": pa.array(["2025-03-03T07:00"] * 2), "location": pa.array(["Cinere"] * 2)}
    imported(database, tmp_path / "data.parquet", parquet(**{**good, column: ODD[kind]}), add_locations=True)


def test_parquet_columns_of_the_same_name_are_taken_or_refused(database: Database, tmp_path: Path) -> None:
    far = pa.array(FAR, pa.timestamp("ns", "UTC"))
    table = pa.table([far, far, pa.array(["Cinere"] * 2)], ["timestamp", "timestamp", "location"])
    out = io.BytesIO()
    pq.write_table(table, out)
    imported(database, tmp_path / "data.parquet", out.getvalue())


@pytest.mark.parametrize("line", [b"a", b'"a', b"a\n,\n"], ids=["one line", "one quoted field", "lines"])
def test_a_packed_file_takes_no_more_memory_than_a_line(database: Database, tmp_path: Path, line: bytes) -> None:
    """A hundred megabytes, which are a hundred kilobytes on the disk."""
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb", compresslevel=1) as packed:
        packed.write(b"timestamp,location\n" + line)
        for _ in range(100):
            packed.write(b"a" * 1_000_000)
    tracemalloc.start()
    try:
        imported(database, tmp_path / "data.csv.gz", content.getvalue())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32_000_000


def test_a_file_that_names_too_many_locations_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_import, "MAX_LOCATIONS", 2)
    lines = [f"2025-03-03T07:00,Place {number}" for number in range(3)]
    (tmp_path / "data.csv").write_text("\n".join(["timestamp,location", *lines]))
    with pytest.raises(ImportRefusedError, match="more than 2 locations"):
        import_file(database.writer, tmp_path / "data.csv", add_locations=True)
    assert database.scalar("select count(*) from locations where origin = 'import'") == 0
