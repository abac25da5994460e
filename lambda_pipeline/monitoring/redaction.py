"""The second net under every secret: what is printed is searched for them, whoever wrote it.

The first is that nobody writes them; see ingestion/http.py.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

_KEY_IN_URL = re.compile(r"((?:[?&]|%3F|%26)(?:key|token)(?:=|%3D))[^&\s'\"<>#)]+", re.IGNORECASE)
_PASSWORD = re.compile(r"(\w*password=)[^&\s'\"<>#)]+|(?<=://)([^\s/:@'\"]*:)[^\s/@'\"]+(?=@)", re.IGNORECASE)
_SHORTEST = 8  # characters: a shorter secret would blot out ordinary words


def redact(text: str) -> str:
    """The text without the values of `key=`, `token=` and `password=`, and the passwords of whatever URLs it holds."""
    return _PASSWORD.sub(lambda found: f"{found[1] or found[2]}***", _KEY_IN_URL.sub(r"\1***", text))


class Redactor:
    """Blots out known secrets as well, as they are and as a URL quotes them. Those of under 8 characters are not known.

    It never shows what it looks for.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = [secret for secret in secrets if len(secret) >= _SHORTEST]
        forms = {form for secret in known for form in (secret, quote(secret, safe=""), quote_plus(secret))}
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without any of them."""
        for form in self._forms:
            text = text.replace(form, "***")
        return redact(text)
