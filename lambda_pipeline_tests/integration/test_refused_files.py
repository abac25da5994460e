"""Files, and lines of files, that are refused: by name or number, with the reason, and nothing lost."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from lambda_pipeline.batch.file_import import import_file
from lambda_pipeline.errors import ImportRefusedError
from lambda_pipeline_tests.integration.import_files import HEADER, LINES, STORED, counts, rejects, stored
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


# ---------------------------------------------------------------- bad lines


BAD = [
    ("yesterday,Cinere,1,,", "'yesterday' is not a date or time"),
    (",Cinere,1,,", "is not a date or time"),
    ("2025-02-30T00:00,Cinere,1,,", "is not a date or time"),
    ("0001-01-01T00:00+14:00,Cinere,1,,", "is out of range"),
    ("2024-12-31T23:59:59+07:00,Cinere,1,,", "LAMBDA_HISTORY_START"),
    ("2199-01-01T00:00,Cinere,1,,", "from the future"),
    ("2025-03-03T07:00,,1,,", "location"),
    ("2025-03-03T07:00,   ,1,,", "is not in the catalogue"),
    ("2025-03-03T07:00,Cinere,-1,,", "aqi_value"),
    ("2025-03-03T07:00,Cinere,1001,,", "aqi_value"),
    ("2025-03-03T07:00,Cinere,50.5,,", "aqi_value must be a whole number"),
    ("2025-03-03T07:00,Cinere,1e999,,", "aqi_value must be a whole number"),
    ("2025-03-03T07:00,Cinere,many,,", "'many' is not a number"),
    ("2025-03-03T07:00,Cinere,1_0,,", "'1_0' is not a number"),
    ("2025-03-03T07:00,Cinere,1,-0.5,60", "current_speed"),
    ("2025-03-03T07:00,Cinere,1,1e999,60", "current_speed"),
    ("2025-03-03T07:00,Cinere,1,-inf,60", "current_speed"),
    ("2025-03-03T07:00,Cinere,1,30,301", "free_flow_speed"),
    ("2025-03-03T07:00,Cinere,1,30,60,surplus,more", "more fields than the header has columns"),
    ("2025-03-03T07:00,Cin\0ere,1,30,60", "is not in the catalogue"),
    (f"2025-03-03T07:00,{'x' * 300},1,30,60", "location"),
]


def test_bad_lines_are_rejected_with_number_and_reason_and_the_rest_is_imported(
    database: Database, write: Callable[..., Path]
) -> None:
    lines = [line for bad, _ in BAD for line in (bad, LINES[0])]
    path = write(*lines, *LINES)
    report = import_file(database.writer, path, add_locations=True)
    assert counts(report) == (len(lines) + 3, 3, len(BAD), len(BAD))
    assert stored(database) == STORED
    assert database.scalar("select count(*) from locations") == 10
    found = rejects(path)
    assert found[0] == ["line", "reason", *HEADER.split(",")]
    assert [int(row[0]) for row in found[1:]] == [2 + 2 * number for number in range(len(BAD))]
    for row, (line, reason) in zip(found[1:], BAD, strict=True):
        assert reason in row[1], (line, row[1])
        assert row[2] == line.split(",")[0]
    assert report.reject_file == path.with_name("data.csv.rejects.csv")
    assert len(report.reasons) == 10
    assert report.reasons[0].startswith("line 2: 'yesterday' is not a date or time")


def test_a_line_before_the_start_of_history_names_the_setting_to_change(
    database: Database, write: Callable[..., Path]
) -> None:
    report = import_file(database.writer, write("2024-12-31T23:59:59,Cinere,1,,", "2025-01-01T00:00:00,Cinere,2,,"))
    assert counts(report) == (2, 1, 0, 1)
    assert "before the start of history" in report.reasons[0]
    assert "LAMBDA_HISTORY_START" in report.reasons[0]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("latitude", "90.5", "latitude"),
        ("longitude", "-180.5", "longitude"),
        ("traffic_level", "0", "traffic_level"),
        ("traffic_level", "6", "traffic_level"),
        ("traffic_level", "2.5", "traffic_level must be a whole number"),
        ("road_closure", "perhaps", "road_closure must be true or false"),
    ],
)
def test_rarer_columns_are_checked_too(
    database: Database, write: Callable[..., Path], column: str, value: str, reason: str
) -> None:
    path = write(f"2025-03-03T07:00,Cinere,{value}", header=f"timestamp,location,{column}")
    assert reason in import_file(database.writer, path).reasons[0]
    assert stored(database) == []


def test_a_quoted_newline_is_part_of_its_field_and_lines_are_counted_as_an_editor_shows_them(
    database: Database, write: Callable[..., Path]
) -> None:
    path = write('"a\nb",2025-03-03T07:00,Cinere,1', "c,2025-03-03T07:00,Cinere,-1", header=f"note,{HEADER[:28]}")
    report = import_file(database.writer, path)
    assert report.stored == 1
    assert report.reasons[0].startswith("line 4: ")


def test_no_reject_file_without_bad_lines_and_an_old_one_is_replaced(
    database: Database, write: Callable[..., Path]
) -> None:
    path = write("never,Cinere,1,,")
    import_file(database.writer, path)
    assert len(rejects(path)) == 2
    write(*LINES)
    report = import_file(database.writer, path)
    assert report.reject_file is None
    assert not path.with_name("data.csv.rejects.csv").exists()


def test_a_reject_file_that_cannot_be_written_is_said_plainly(database: Database, write: Callable[..., Path]) -> None:
    path = write("never,Cinere,1,,")
    path.with_name("data.csv.rejects.csv").mkdir()
    with pytest.raises(ImportRefusedError, match=r"data\.csv\.rejects\.csv cannot be written"):
        import_file(database.writer, path)


# ---------------------------------------------------------------- refused files


UNREADABLE = [
    ("empty.csv", b"", "no column timestamp and no column location"),
    ("empty.parquet", b"", "cannot be read"),
    ("header.csv", b"time,location\n", "no column timestamp"),
    ("header.csv", b"timestamp,place\n2025-03-03,Cinere\n", "no column location"),
    ("text.csv", b"hello\nworld\n", "no column timestamp"),
    ("image.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xfe", "cannot be read"),
    ("latin.csv", "timestamp,location\n2025-03-03,Café\n".encode("latin-1"), "cannot be read"),
    ("text.parquet", b"timestamp,location\n", "cannot be read"),
    ("cut.csv.gz", gzip.compress(b"timestamp,location\n" + b"2025-03-03,Cinere\n" * 99)[:-20], "cannot be read"),
    ("header.csv.gz", b"\x1f\x8b\x08", "cannot be read"),
    ("broken.csv.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "cannot be read"),
    ("longfield.csv", b"timestamp,location\n2025-03-03," + b"x" * 200_000, "cannot be read"),
]


def test_a_file_that_is_not_one_of_ours_is_refused_by_name(database: Database, tmp_path: Path) -> None:
    for name, content, match in UNREADABLE:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ImportRefusedError, match=match) as caught:
            import_file(database.writer, path)
        assert name in str(caught.value)


def test_a_file_that_breaks_off_stores_nothing_of_what_came_before(database: Database, tmp_path: Path) -> None:
    lines = "".join(f"2025-03-03T{n // 60:02d}:{n % 60:02d},Cinere,{n % 97}\n" for n in range(1200))
    content = gzip.compress(f"timestamp,location,aqi_value\n{lines}".encode(), mtime=0)
    path = tmp_path / "data.csv.gz"
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(ImportRefusedError):
        import_file(database.writer, path)
    assert stored(database) == []


def test_what_is_no_file_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(ImportRefusedError, match="there is no file"):
        import_file(database.writer, tmp_path / "nothing.csv")
    with pytest.raises(ImportRefusedError, match="cannot be read"):
        import_file(database.writer, tmp_path)


def test_a_file_of_a_header_alone_imports_nothing(database: Database, write: Callable[..., Path]) -> None:
    report = import_file(database.writer, write())
    assert counts(report) == (0, 0, 0, 0)
    assert (report.first, report.last, report.reject_file) == (None, None, None)
