"""Where the archive is, as its address says it."""

from pathlib import Path

import pytest

from lambda_pipeline.archive.place import Place, S3Access, parse_place


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("/data/archive", Place("folder", "/data/archive")),
        ("/data/archive/", Place("folder", "/data/archive")),
        ("file:///data/an%20archive/", Place("folder", "/data/an archive")),
        ("file://localhost/data", Place("folder", "/data")),
        ("s3://bucket", Place("s3", "bucket")),
        ("s3://bucket/", Place("s3", "bucket")),
        ("s3://my.bucket//city/jakarta/", Place("s3", "my.bucket/city/jakarta")),
    ],
)
def test_addresses_are_read(url: str, place: Place) -> None:
    assert parse_place(url) == place
    assert parse_place(str(place)) == place


def test_a_folder_is_meant_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_place("archive") == Place("folder", str(tmp_path / "archive"))
    monkeypatch.setenv("HOME", "/home/somebody")
    assert parse_place("~/archive") == Place("folder", "/home/somebody/archive")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://", "cannot be read"), ("s3:///prefix", "cannot be read"), ("s3://host:9000/bucket", "cannot be read"),
        ("s3://key:secret@bucket/prefix", "AWS_ACCESS_KEY_ID"), ("s3://bucket/?region=x", "no ?"),
        ("https://bucket", "cannot be read"), ("file://elsewhere/data", "cannot be read"),
        ("file:///", "cannot be read"), ("gs://bucket", "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_its_secrets(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse_place(url)
    assert "secret@" not in str(caught.value)


def test_keys_do_not_show() -> None:
    shown = repr(S3Access("http://127.0.0.1:1", "r", "the-key", "the-secret", "the-token"))
    assert "127.0.0.1" in shown
    assert "the-" not in shown
