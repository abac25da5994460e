"""Where the archive is, as LAMBDA_ARCHIVE_URL says it: a folder, or a part of a bucket. Pure."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Place:
    """`root` is a folder's absolute path, or a bucket's name and a prefix in it; without a slash at its end."""

    kind: Literal["folder", "s3"]
    root: str

    def __str__(self) -> str:
        return f"s3://{self.root}" if self.kind == "s3" else self.root


@dataclass(frozen=True, slots=True)
class S3Access:
    """How to reach an object store. What is None is looked for as AWS's own tools do: ~/.aws, the machine's role."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)


def parse_place(url: str) -> Place:
    """A path, file:///path or s3://bucket/prefix. Raises ValueError with a sentence for the user."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        return Place("folder", str(Path(url).expanduser().absolute()))
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError("keys do not belong into the address; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if parts.query or parts.fragment:
        raise ValueError("an address of an archive has no ? and no #")
    if scheme == "file" and parts.netloc in ("", "localhost") and parts.path.strip("/"):
        return Place("folder", unquote(parts.path).rstrip("/"))
    if scheme == "s3" and parts.netloc and ":" not in parts.netloc:
        return Place("s3", "/".join(filter(None, [parts.netloc, *parts.path.split("/")])))
    raise ValueError("cannot be read; write a folder's path, file:///path, or s3://bucket/prefix")
