"""The folder or the bucket that the archive's files lie in, through Arrow's file systems."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from lambda_pipeline.archive.place import Place, S3Access
from lambda_pipeline.errors import ArchiveDamagedError, ArchiveUnavailableError

_PIECE = 1 << 20  # bytes read at once
_ATTEMPTS = 5  # of a request to an object store, with backoff


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file is: its length, and the SHA-256 of all of it in hexadecimal."""

    bytes: int
    checksum: str


class Store:
    """Files by their paths below the archive's root. Errors of the store are ArchiveUnavailableError."""

    def __init__(self, place: Place, access: S3Access | None = None) -> None:
        """Does not connect."""
        self.place = place
        self._files = fs.LocalFileSystem() if place.kind == "folder" else _bucket(access or S3Access())

    @property
    def files(self) -> fs.FileSystem:
        """Arrow's own, for another process to read with: it can be pickled, and carries the keys that were given."""
        return self._files

    def write(self, path: str, fill: Callable[[io.RawIOBase], None]) -> Stored:
        """Make a file of what `fill` writes; what was written. If `fill` raises, there is no file."""
        whole = self._whole(path)
        try:
            with self._our_errors(path, "written"):
                if self.place.kind == "folder":
                    self._files.create_dir(str(Path(whole).parent), recursive=True)
                with self._files.open_output_stream(whole, compression=None) as stream:
                    sink = _Sink(stream)
                    fill(sink)
                if self.place.kind == "folder":
                    _make_durable(Path(whole), Path(self.place.root))
        except BaseException:
            with suppress(ArchiveUnavailableError):
                self.remove(path)
            raise
        return sink.stored()

    def open(self, path: str) -> pa.NativeFile:
        """A file to read from anywhere in it. Raises ArchiveDamagedError where there is none."""
        with self._our_errors(path, "read"):
            return self._files.open_input_file(self._whole(path))

    def examine(self, path: str) -> Stored:
        """Read all of a file. Raises ArchiveDamagedError where there is none."""
        digest, length = hashlib.sha256(), 0
        with self._our_errors(path, "read"), self._files.open_input_stream(self._whole(path)) as stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
                length += len(piece)
        return Stored(length, digest.hexdigest())

    def fetch(self, path: str, target: Path) -> Stored:
        """Copy a file to this machine; what was copied. Raises ArchiveDamagedError where there is none."""
        digest, length = hashlib.sha256(), 0
        with (
            self._our_errors(path, "read"),
            self._files.open_input_stream(self._whole(path)) as stream,
            target.open("wb") as copy,
        ):
            while piece := stream.read(_PIECE):
                digest.update(piece)
                length += copy.write(piece)
        return Stored(length, digest.hexdigest())

    def local_path(self, path: str) -> Path | None:
        """Where a file lies on this machine; None in a bucket."""
        return Path(self._whole(path)) if self.place.kind == "folder" else None

    def remove(self, path: str) -> None:
        """Remove a file; none is fine."""
        with self._our_errors(path, "removed"), suppress(FileNotFoundError):
            self._files.delete_file(self._whole(path))

    def _whole(self, path: str) -> str:
        return f"{self.place.root}/{path}"

    @contextmanager
    def _our_errors(self, path: str, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if done == "read" and isinstance(error, FileNotFoundError):
                raise ArchiveDamagedError(
                    f"the archive {self.place} does not hold {path}.",
                    "Is LAMBDA_ARCHIVE_URL where the files were written to? If they are lost, run "
                    "`lambda-pipeline backfill --from DAY --to DAY --asset raw_archive --all`.",
                ) from error
            reason = error.strerror or (str(error).strip().splitlines() or ["no reason given"])[0]
            raise ArchiveUnavailableError(
                f"the archive {self.place}: {path} cannot be {done}: {reason.rstrip('.')}.",
                "Is LAMBDA_ARCHIVE_URL right, is there room, and may we write there? Nothing was changed.",
            ) from error


class _Sink(io.RawIOBase):
    """What a Parquet writer writes to: counts and hashes what it passes on."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = memoryview(data).cast("B")
        self._stream.write(piece)
        self._digest.update(piece)
        self._length += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._length

    def stored(self) -> Stored:
        return Stored(self._length, self._digest.hexdigest())


def _make_durable(path: Path, root: Path) -> None:
    """A manifest in the database must not outlive its file in a power cut, nor the folders that were made for it."""
    for one in (path, *(folder for folder in path.parents if folder.is_relative_to(root))):
        handle = os.open(one, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _bucket(access: S3Access) -> fs.FileSystem:
    options: dict[str, object] = {}
    if access.endpoint_url is not None:
        parts = urlsplit(access.endpoint_url)
        options |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    if access.region is not None or access.endpoint_url is not None:
        options["region"] = access.region or "us-east-1"  # which a store of one's own does not look at
    if access.access_key is not None:
        options |= {
            "access_key": access.access_key, "secret_key": access.secret_key, "session_token": access.session_token,
        }  # fmt: skip
    return fs.S3FileSystem(
        connect_timeout=10, request_timeout=60,  # seconds
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS), **options,
    )  # fmt: skip
