"""What the tests that send nonsense share: how much of it, and what it is made of."""

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_WANTED = os.environ.get("LAMBDA_FUZZ_EXAMPLES")


def examples(number: int) -> settings:
    """So many examples, the same in every run; LAMBDA_FUZZ_EXAMPLES asks for so many others instead."""
    return settings(
        max_examples=int(_WANTED or number),
        derandomize=_WANTED is None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


MARKUP = "<img src=x onerror=alert(1)>"
HOSTILE = (
    MARKUP, "<script>alert(1)</script>", "'; drop table raw_data; --", "\" or 1=1 --", "$$; drop table raw_data; $$",
    "%s %(name)s {0} {name} :name", "\\", "\x00", "\x1b]0;title\x07", "\r\nX-Header: 1", "../../etc/passwd",
    "${jndi:ldap://127.0.0.1/a}", "=cmd|' /C calc'!A0", "\u202e", "\ud800", "💥" * 50, "NaN", "Infinity", "-0",
    "1e999", "9" * 400, "٣", "0x10", "1_000", "", " ", "null", "None",
)  # fmt: skip
ENCODABLE = tuple(text for text in HOSTILE if "\ud800" not in text)  # what a process or a browser can send
hostile_text = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30))
encodable_text = st.one_of(st.sampled_from(ENCODABLE), st.text(st.characters(codec="utf-8"), max_size=30))
numbers = st.one_of(
    st.integers(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.sampled_from([0, -1, 1000, 1001, 300, 300.0001, 2**31, 2**63, -(2**63) - 1, 1e308]),
)
scalars: st.SearchStrategy[Any] = st.one_of(st.none(), st.booleans(), numbers, hostile_text)
anything: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hostile_text, inner, max_size=4), max_leaves=12
)


def damaged(payload: bytes) -> st.SearchStrategy[bytes]:
    """These bytes with a few of them changed, cut off or doubled."""

    def damage(changes: list[tuple[int, int, bytes]]) -> bytes:
        found = bytearray(payload)
        for place, length, content in changes:
            start = place % (len(found) + 1)
            found[start : start + length] = content
        return bytes(found)

    change = st.tuples(st.integers(0, len(payload)), st.sampled_from([0, 1, 2, 100]), st.binary(max_size=4))
    return st.lists(change, min_size=1, max_size=4).map(damage)
