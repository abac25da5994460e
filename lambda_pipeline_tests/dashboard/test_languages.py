"""Every language says everything, with the same values; and the page says nothing that no language has."""

import ast
import re
import string
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import dashboard
from dashboard import formats
from dashboard.languages.english import ENGLISH
from dashboard.texts import LANGUAGES, Texts
from dashboard.units import KM_H, MPH
from lambda_pipeline.domain.air_quality import AQI_BANDS
from lambda_pipeline.domain.city_time import CityClock

PACKAGE = Path(dashboard.__file__).parent


def test_every_language_has_every_key_and_no_other() -> None:
    for language in LANGUAGES.values():
        assert set(language.texts) == set(ENGLISH.texts), language.name


def test_every_language_puts_in_the_same_values() -> None:
    may_leave_out = {"level": {"meaning"}}  # where the names are the language's own words already
    for language in LANGUAGES.values():
        for key, text in language.texts.items():
            expected = placeholders(ENGLISH.texts[key])
            assert placeholders(text) in (expected, expected - may_leave_out.get(key, set())), (language.name, key)


def test_nothing_is_left_in_english() -> None:
    for language in LANGUAGES.values():
        if language is ENGLISH:
            continue
        same = {key for key, text in language.texts.items() if text == ENGLISH.texts[key] and " " in text}
        assert same <= {"header.of_layers", "date", "date_time", "day"}, language.name


def test_every_key_that_the_page_uses_is_there() -> None:
    for pattern, where in used():
        assert any(re.fullmatch(pattern, key) for key in ENGLISH.texts), f"{where}: {pattern}"


def test_every_key_is_used() -> None:
    patterns = [pattern for pattern, _ in used()]
    unused = {key for key in ENGLISH.texts if not any(re.fullmatch(pattern, key) for pattern in patterns)}
    assert not unused


def test_every_category_of_the_domain_has_a_name() -> None:
    for language in LANGUAGES:
        assert all(Texts(language)(f"category.{band.category}") for band in AQI_BANDS)


@pytest.mark.parametrize(
    ("language", "number", "percent", "when", "day", "speed"),
    [
        ("en", "1,234.50", "1,234.5 %", "Thu 12 Mar, 14:42 WIB", "12 May 2026", "31.1 mph"),
        ("id", "1.234,50", "1.234,5 %", "Kam 12 Mar, 14:42 WIB", "12 Mei 2026", "31,1 mil/jam"),
    ],
)
def test_values_are_written_as_the_language_writes_them(
    language: str, number: str, percent: str, when: str, day: str, speed: str
) -> None:
    t, clock = Texts(language), CityClock("Asia/Jakarta")
    assert t.number(1234.5, 2) == number
    assert t.percent(12.345) == percent
    assert formats.date_time(datetime(2026, 3, 12, 7, 42, tzinfo=UTC), clock, t) == when
    assert formats.day(date(2026, 5, 12), t) == day
    assert MPH.written(50.0, t, 1) == speed
    assert KM_H.written(None, t) == f"– {KM_H.name(t)}"
    assert t.separators == number[5] + number[1]


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def used() -> Iterator[tuple[str, str]]:
    """Every key that the code asks for, as a pattern of keys: what an f-string puts in may be anything."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "languages" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in ENGLISH.texts:
                yield re.escape(node.value), path.name
            elif is_text_call(node):
                for argument in alternatives(node.args[0]):  # type: ignore[attr-defined]
                    yield argument, f"{path.name}:{node.lineno}"  # type: ignore[attr-defined]


def is_text_call(node: ast.AST) -> bool:
    """`t(…)`, `texts(…)`, `self(…)` of Texts itself, and `context.texts(…)`."""
    if not isinstance(node, ast.Call) or not node.args:
        return False
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr == "texts"
    return isinstance(function, ast.Name) and function.id in {"t", "texts", "self"}


def alternatives(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from alternatives(node.body)
        yield from alternatives(node.orelse)
    elif isinstance(node, ast.Constant):
        yield re.escape(str(node.value))
    elif isinstance(node, ast.JoinedStr):
        parts = [re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in node.values]
        yield "".join(parts)
