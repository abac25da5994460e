"""Signing in: who is let in, and that nobody is where it is not set up."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lambda_pipeline.local.gate import sign_in
from lambda_pipeline.local.gate.sign_in import is_allowed

VERIFIED = {"email": "Ani@city.example", "email_verified": True}


@pytest.mark.parametrize(
    ("claims", "allowed", "expected"),
    [
        (VERIFIED, ["ani@CITY.example"], True),
        (VERIFIED, ["@city.example"], True),
        (VERIFIED, ["*"], True),
        ({}, ["*"], True),
        (VERIFIED, [], False),
        (VERIFIED, ["budi@city.example", "@example"], False),
        (VERIFIED, ["city.example", "@", ""], False),
        ({"email": "ani@city.example"}, ["ani@city.example"], False),
        ({"email": "ani@city.example", "email_verified": False}, ["@city.example"], False),
        ({"email": "ani@city.example", "email_verified": "true"}, ["@city.example"], False),
        ({"email": "x@evil.example@city.example.evil", "email_verified": True}, ["@city.example"], False),
        ({"email": None, "email_verified": True}, ["@", ""], False),
    ],
)
def test_who_is_let_in(claims: Mapping[str, object], allowed: list[str], expected: bool) -> None:
    assert is_allowed(claims, allowed) is expected


@pytest.mark.parametrize("secrets", [{}, {"allowed": {"who": ["*"]}}, {"auth": {"client_id": "x"}}])
def test_nobody_is_let_in_where_it_is_not_set_up(
    secrets: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = AppTest.from_file(sign_in.__file__, default_timeout=30)
    for name, value in secrets.items():
        page.secrets[name] = value
    page.run()
    assert [error.value for error in page.error] == ["Signing in is not set up yet. See deploy/secrets.example.toml."]
    assert not page.title
    assert not page.exception
