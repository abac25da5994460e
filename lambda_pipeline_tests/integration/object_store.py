"""Where archives of the tests lie: in a folder, or in a bucket of a real server that speaks S3, on loopback."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from pyarrow import fs

from lambda_pipeline.archive.place import Place, S3Access
from lambda_pipeline.local.home import free_port
from lambda_pipeline.local.supervisor import listens
from lambda_pipeline_tests.processes import Daemon, wait_for

_numbers = count(1)


@dataclass(frozen=True)
class Where:
    """A place of its own for one test's archive, and what its files are, by their paths in it."""

    place: Place
    access: S3Access
    files: fs.FileSystem

    def settings(self) -> dict[str, str]:
        """The environment that names it."""
        if self.place.kind == "folder":
            return {"LAMBDA_ARCHIVE_URL": str(self.place)}
        return {
            "LAMBDA_ARCHIVE_URL": str(self.place),
            "AWS_ENDPOINT_URL": str(self.access.endpoint_url),
            "AWS_ACCESS_KEY_ID": str(self.access.access_key),
            "AWS_SECRET_ACCESS_KEY": str(self.access.secret_key),
        }

    def paths(self) -> list[str]:
        """All files, in order."""
        found = self.files.get_file_info(fs.FileSelector(self.place.root, allow_not_found=True, recursive=True))
        return sorted(one.path.removeprefix(f"{self.place.root}/") for one in found if one.is_file)

    def bytes_of(self, path: str) -> bytes:
        """What a file holds."""
        with self.files.open_input_stream(f"{self.place.root}/{path}") as stream:
            return bytes(stream.read())

    def overwrite(self, path: str, content: bytes) -> None:
        """Let it hold something else."""
        with self.files.open_output_stream(f"{self.place.root}/{path}") as stream:
            stream.write(content)

    def remove(self, path: str) -> None:
        """Let it be gone."""
        self.files.delete_file(f"{self.place.root}/{path}")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Access]:
    """A server that speaks S3, as a process."""
    port = free_port()
    folder = tmp_path_factory.mktemp("s3")
    server = Daemon(["-H", "127.0.0.1", "-p", str(port)], dict(os.environ), folder, "s3", module="moto.server")
    try:
        wait_for(lambda: listens(port)() or not server.alive, "the object store listens")
        assert server.alive, server.log
        yield S3Access(f"http://127.0.0.1:{port}", None, "a-key", "a-secret")
    finally:
        server.kill()


def in_folder(folder: Path) -> Where:
    """An archive in a folder that is not there yet."""
    return Where(Place("folder", str(folder / "archive")), S3Access(), fs.LocalFileSystem())


def in_bucket(access: S3Access) -> Where:
    """An archive in a bucket of its own."""
    host = str(access.endpoint_url).removeprefix("http://")
    files = fs.S3FileSystem(
        endpoint_override=host, scheme="http", region="us-east-1", access_key=access.access_key,
        secret_key=access.secret_key, allow_bucket_creation=True,
    )  # fmt: skip
    bucket = f"bucket-{os.getpid()}-{next(_numbers)}"
    files.create_dir(bucket)
    return Where(Place("s3", f"{bucket}/city"), access, files)


@pytest.fixture(params=["folder", "s3"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """A place for an archive: each test that asks for it runs with both kinds."""
    return in_folder(tmp_path) if request.param == "folder" else in_bucket(request.getfixturevalue("s3"))
