"""English: its words, and how it writes numbers."""

from dashboard.languages.english import charts, page
from dashboard.languages.language import Language

ENGLISH = Language("en", "English", decimal=".", group=",", texts={**page.TEXTS, **charts.TEXTS})
