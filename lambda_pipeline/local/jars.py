"""Kafka's jars: a lock file of exact coordinates and checksums, and a cache that holds what it names.

`python -m lambda_pipeline.local.jars` (that is `make lock`) resolves the coordinates anew and writes the lock file. At
run time nothing is resolved: what is missing in the cache is fetched by its coordinate with jgo, and whatever is used
has the locked size and SHA-256, on every start.
"""

import contextlib
import fcntl
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from lambda_pipeline.errors import EmbeddedServerError

LOCK_FILE = Path(__file__).with_name("kafka-jars.lock")
KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
# Kafka logs through SLF4J and leaves the binding to whoever runs it. It is resolved apart and without what it depends
# on: resolved together, its own list of versions takes kafka-clients back to 3.9.1 and the broker dies at its start.
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"

_THREADS = 4
_ATTEMPTS = 3

Advance = Callable[[int], None]
"""Told of every piece that was received, in bytes."""


@dataclass(frozen=True)
class Jar:
    """One line of the lock: `group:artifact:version`, the SHA-256 in hex, the size in bytes."""

    coordinate: str
    sha256: str
    bytes: int

    def path_in(self, folder: Path) -> Path:
        """Where a Maven repository at `folder` keeps it."""
        group, artifact, version = self.coordinate.split(":")
        return folder.joinpath(*group.split("."), artifact, version, f"{artifact}-{version}.jar")


def read_lock(lock_file: Path = LOCK_FILE) -> list[Jar]:
    """The jars that the lock file names.

    Raises:
        EmbeddedServerError: there is no lock file, or it is damaged.
    """
    try:
        return [Jar(**values) for values in json.loads(lock_file.read_text(encoding="utf-8"))["jars"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EmbeddedServerError(
            f"The list of Kafka's jars, {lock_file}, cannot be read: {error}.", "Install lambda-pipeline anew."
        ) from error


def ensure_jars(cache: Path, progress: bool = True, jars: Sequence[Jar] | None = None) -> list[Path]:
    """Return the paths of Kafka's jars, downloading those that `cache` does not hold; the order is the class path's.

    `progress` shows a bar on standard error while something is downloaded (45 MB in all). Several processes may call
    it at once: one downloads, the others wait. A download that is cut short never counts. Without a network it works as
    long as all jars are there.

    Raises:
        EmbeddedServerError: a jar does not match its checksum (it is removed), or is missing and cannot be downloaded.
    """
    wanted = read_lock() if jars is None else jars
    repository = cache / "jars"
    if any(not jar.path_in(repository).is_file() for jar in wanted):
        try:
            repository.mkdir(parents=True, exist_ok=True)
            with _locked(repository / ".lock"):
                missing = [jar for jar in wanted if not jar.path_in(repository).is_file()]
                if missing:
                    _download_all(missing, repository, progress)
        except OSError as error:
            raise EmbeddedServerError(
                f"Kafka's jars cannot be stored in {repository}: {error.strerror or error}.",
                "Free some space or check who owns the folder, or set LAMBDA_CACHE to another one.",
            ) from error
    paths = [jar.path_in(repository) for jar in wanted]
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(_verify, wanted, paths))
    return paths


def write_lock(lock_file: Path = LOCK_FILE) -> list[Jar]:
    """Resolve Kafka's coordinates, download every jar to take its checksum, and write the lock file."""
    from jgo.maven import MavenContext  # noqa: PLC0415  # only where something is downloaded: its import is slow

    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder))
        inputs, dependencies = context.resolver.resolve([context.create_dependency(KAFKA)])
        inputs += [context.create_dependency(LOG_BINDING)]
        artifacts = {
            f"{found.groupId}:{found.artifactId}:{found.version}": found.artifact
            for found in inputs + dependencies
            if found.scope in ("compile", "runtime", None) and not found.classifier
        }
        jars = []
        for coordinate, artifact in sorted(artifacts.items()):
            path = artifact.resolve()
            jars.append(Jar(coordinate, _sha256(path), path.stat().st_size))
    about = "Written by `make lock`: Kafka's jars as Maven coordinates, with SHA-256 and size in bytes."
    lock_file.write_text(json.dumps({"about": about, "jars": [asdict(jar) for jar in jars]}, indent=1) + "\n", "utf-8")
    return jars


def _download_all(jars: Sequence[Jar], repository: Path, progress: bool) -> None:
    for partial in repository.glob(".partial-*"):  # what an interrupted download left; we hold the lock
        shutil.rmtree(partial, ignore_errors=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        tempfile.TemporaryDirectory(prefix=".partial-", dir=repository, ignore_cleanup_errors=True) as folder,
        Progress(*columns, console=Console(stderr=True), disable=not progress) as bar,
    ):
        task = bar.add_task("Downloading Apache Kafka", total=sum(jar.bytes for jar in jars))
        with ThreadPoolExecutor(_THREADS) as pool:
            downloads = [
                pool.submit(_download, jar, Path(folder), repository, lambda size: bar.advance(task, size))
                for jar in jars
            ]
            try:
                for download in downloads:
                    download.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _download(jar: Jar, partial: Path, repository: Path, advance: Advance) -> None:
    """Fetch one jar into a repository of its own, check it, and move it into place."""
    for attempt in range(1, _ATTEMPTS + 1):
        received = 0

        def count(size: int) -> None:
            nonlocal received
            received += size
            advance(size)

        own = partial / f"{jar.coordinate.replace(':', '_')}-{attempt}"
        try:
            path = _fetch(jar, own, count)
            break
        except (RuntimeError, requests.RequestException) as error:
            # RuntimeError is jgo's for every answer but 200.
            advance(-received)
            if attempt == _ATTEMPTS:
                raise EmbeddedServerError(
                    f"{jar.coordinate}, which the embedded Kafka needs, is not in {repository} and cannot be "
                    f"downloaded: {_reason(error)}.",
                    "Its first start needs a network connection; later ones do not. "
                    "Or set KAFKA_BOOTSTRAP_SERVERS to a broker of yours.",
                ) from error
            time.sleep(0.5 * attempt)
    _verify(jar, path)
    target = jar.path_in(repository)
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)


def _fetch(jar: Jar, folder: Path, count: Advance) -> Path:
    from jgo.maven import MavenContext  # noqa: PLC0415
    from jgo.maven._resolver import PythonResolver  # noqa: PLC0415

    @contextlib.contextmanager
    def received(_name: str, _size: int) -> Iterator[Advance]:
        yield count

    context = MavenContext(repo_cache=folder, resolver=PythonResolver(progress_callback=received), timeout=30)
    group, artifact, version = jar.coordinate.split(":")
    return Path(context.project(group, artifact).at_version(version).artifact().resolve())


def _verify(jar: Jar, path: Path) -> None:
    size, digest = path.stat().st_size, _sha256(path)
    if (size, digest) == (jar.bytes, jar.sha256):
        return
    path.unlink(missing_ok=True)
    raise EmbeddedServerError(
        f"{path.name} ({jar.coordinate}) is not the jar that is locked and was removed: SHA-256 {digest} "
        f"({size} bytes) instead of {jar.sha256} ({jar.bytes} bytes).",
        "Start again to download it anew; if that gives the same, whoever serves it has changed it: do not use it.",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    """The innermost reason in one line: what `requests` says of a missing network is a page of wrapped exceptions."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted here (behind a proxy, REQUESTS_CA_BUNDLE names your authority's)"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    if isinstance(error, requests.Timeout):
        return "the server does not answer"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    written = write_lock()
    sys.stdout.write(f"{LOCK_FILE}: {len(written)} jars, {sum(jar.bytes for jar in written):,} bytes\n")
