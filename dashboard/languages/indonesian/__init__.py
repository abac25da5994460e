"""Indonesian: its words, and how it writes numbers."""

from dashboard.languages.indonesian import charts, page
from dashboard.languages.language import Language

INDONESIAN = Language("id", "Bahasa Indonesia", decimal=",", group=".", texts={**page.TEXTS, **charts.TEXTS})
