"""The pages of docs/: those that are made from the code, and that none says what is not so."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
