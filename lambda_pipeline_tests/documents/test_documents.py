"""The documents are up to date, and what they point to is there."""

import re
from pathlib import Path

import pytest

from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.documents import DOCS, ROOT
from lambda_pipeline_tests.documents.dictionary import dictionary, missing
from lambda_pipeline_tests.documents.reference import reference
from lambda_pipeline_tests.servers import Database

PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
_LINK = re.compile(
    r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)|^\[[^\]]+\]: (?!https?://)(\S+)$", re.MULTILINE
)
_COMMAND = re.compile(r"lambda-pipeline ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)")


def test_the_commands_are_described() -> None:
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == reference(), "run `make docs`"


@pytest.mark.integration
def test_the_tables_are_described(database: Database) -> None:
    with transaction(database.owner, read_only=True) as connection:
        assert missing(connection) == []
        assert (DOCS / "data-dictionary.md").read_text(encoding="utf-8") == dictionary(connection), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for match in _LINK.finditer(page.read_text(encoding="utf-8")):
        path, anchor = match[1] if match[1] is not None else match[3], match[2]
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {path}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_anchor, headings), f"{page.name}: {path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    known = set(re.findall(r"^###? lambda-pipeline ?([a-z -]*)", reference(), re.MULTILINE))
    known = {name.strip() for name in known} | {"simulator"}
    for match in _COMMAND.finditer(page.read_text(encoding="utf-8")):
        words = match[1].split()
        assert any(" ".join(words[:count]) in known for count in (1, 2)), f"{page.name}: lambda-pipeline {match[1]}"


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
