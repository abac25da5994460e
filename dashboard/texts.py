"""How the page writes: the words of a language (`dashboard/languages/`), and numbers and ages as it writes them.

`Texts` is handed to whatever writes: `t("key", name=value)` gives a sentence, `t.number` and `t.age` write values the
way the language does. Values are put in as they are; whoever shows them as Markdown or HTML escapes them before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from dashboard.languages.english import ENGLISH
from dashboard.languages.indonesian import INDONESIAN
from dashboard.languages.language import Language

LANGUAGES: Final[Mapping[str, Language]] = {language.code: language for language in (ENGLISH, INDONESIAN)}
MISSING: Final = "–"


@dataclass(frozen=True, slots=True)
class Texts:
    """The words and number formats of one language; `language` is one of LANGUAGES."""

    language: str = ENGLISH.code

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with its values put in. An unknown key is an error of ours: KeyError."""
        text = LANGUAGES[self.language].texts[key]
        return text.format(**values) if values else text

    @property
    def separators(self) -> str:
        """Decimal sign and thousands' sign, as `layout.separators` of Plotly takes them."""
        language = LANGUAGES[self.language]
        return language.decimal + language.group

    def number(self, value: Any, decimals: int = 0) -> str:
        """A number with grouped thousands; a dash for a missing one."""
        if value is None or pd.isna(value):
            return MISSING
        return f"{value:,.{decimals}f}".translate(str.maketrans(".,", self.separators))

    def percent(self, share: float | None) -> str:
        """A share (1 is all) as a percentage."""
        return MISSING if share is None or pd.isna(share) else f"{self.number(100 * share, 1)} %"

    def age(self, seconds: float | None) -> str:
        """How long ago, in the largest unit that says enough."""
        if seconds is None or pd.isna(seconds):
            return self("never")
        whole = max(int(seconds), 0)
        if whole < 5:
            return self("age.now")
        if whole < 60:
            return self("age.seconds", n=whole)
        if whole < 3600:
            return self("age.minutes", n=whole // 60)
        if whole < 48 * 3600:
            return self("age.hours", n=whole // 3600, m=whole % 3600 // 60)
        return self("age.days", n=self.number(whole // 86400))
