"""What may stand in the dashboard's address, as a whole page: it opens, and shows nothing of what it cannot use."""

from hypothesis import example, given
from hypothesis import strategies as st

from lambda_pipeline_tests.dashboard.fake_serving import HOSTILE_NAME, FakeServing
from lambda_pipeline_tests.dashboard.opened_page import KEYS, opened, words
from lambda_pipeline_tests.security.fuzzing import ENCODABLE, MARKUP, encodable_text, examples

PARAMETERS = [
    "tab", "lang", "units", "location", "from", "to", "layer", "category", "level", "missing", "peak", "sort", "order",
    "rows", "page",
]  # fmt: skip
values = st.lists(encodable_text, min_size=1, max_size=3)
addresses = st.dictionaries(st.sampled_from(PARAMETERS) | encodable_text.filter(bool), values, max_size=6)


@examples(12)
@given(st.sampled_from(KEYS), addresses)
@example("raw", {name: list(ENCODABLE) for name in PARAMETERS if name != "tab"})
@example("statistics", {"location": [HOSTILE_NAME, MARKUP], "from": ["0001-01-01"], "to": ["9999-12-31"]})
@example("raw", {"page": ["9" * 400], "rows": ["-1"], "sort": ["timestamp; drop table raw_data"], "level": ["6"]})
def test_any_address_opens_the_page(tab: str, address: dict[str, list[str]]) -> None:
    app = opened(FakeServing(), **({"tab": tab} | address))  # type: ignore[arg-type]
    assert not app.exception
    assert app.title[0].value == "Jakarta"
    shown = words(app)
    assert MARKUP not in shown
    assert "<script>" not in shown
    assert "drop table" not in shown
