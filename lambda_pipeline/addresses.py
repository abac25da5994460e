"""What addresses of servers look like, as settings hold them. Pure."""

import re
from urllib.parse import urlsplit

_BROKER = re.compile(r"(\w+://)?([^\s:/@\[\]]+|\[[^\s/@\[\]]+\])(:(?P<port>\d{1,5}))?", re.ASCII)


def is_broker(address: str) -> bool:
    """Whether it is one of a broker: host, host:port, [IPv6]:port, each also with a scheme before it."""
    found = _BROKER.fullmatch(address.strip())
    return found is not None and 0 < int(found["port"] or 9092) < 65536


def refuse_bad_postgresql(url: str) -> None:
    """Raise ValueError, with the form that is needed and nothing of the password, unless it is a PostgreSQL's."""
    form = "write postgresql://user:password@host:5432/name"
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ValueError(f"not an address of a PostgreSQL database; {form}")
    try:
        parts = urlsplit(url)
        is_plain = parts.netloc.count("@") <= 1 and (parts.port is None or parts.port > 0)
    except ValueError:
        is_plain = False
    if not is_plain:
        raise ValueError(f"cannot be read; {form}, in which @ : / ? # of a password are %40 %3A %2F %3F %23")


def password_of(url: str) -> str | None:
    """What a text holds as a password where it is an address, quoted as there."""
    try:
        return urlsplit(url).password
    except ValueError:
        return None
