"""What a language is."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """Words by key, and the signs of numbers."""

    code: str  # ISO 639-1; its value in the address
    name: str  # in itself
    decimal: str
    group: str  # between thousands
    texts: Mapping[str, str]
