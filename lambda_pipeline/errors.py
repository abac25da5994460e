"""Every error a user or an operator can meet, in one tree.

`TransientError`: trying again may help (a server is away, a lock timed out). `TerminalError`: it will not help until
somebody does what `next_action` says. Both carry the sentence that the command line prints.
"""


class LambdaPipelineError(Exception):
    """Base of all. `next_action` is what the reader should do about it, or an empty string."""

    def __init__(self, message: str, next_action: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_action = next_action

    def __str__(self) -> str:
        return f"{self.message} {self.next_action}".strip()


class TransientError(LambdaPipelineError):
    """May pass when tried again."""


class TerminalError(LambdaPipelineError):
    """Will not pass by itself."""


class SettingsError(TerminalError):
    """A setting is missing, malformed, or contradicts another or the database."""


class CatalogueError(TerminalError):
    """A city catalogue cannot be used."""


class DatabaseUnavailableError(TransientError):
    """PostgreSQL cannot be reached or broke the connection."""


class BrokerUnavailableError(TransientError):
    """Kafka cannot be reached."""


class BrokerRefusedError(TerminalError):
    """Kafka answers, but does not let us in, is not trusted, or does not allow what we need."""


class LogReaderError(TransientError):
    """One of several processes that read the log for raw_data ended before its time. What was stored by then stays."""


class SpoolUnavailableError(TransientError):
    """The ingest daemon's spool cannot be read or written: the disk is full, or the folder is somebody else's."""


class SpoolInUseError(TerminalError):
    """Another ingest daemon works with the same spool."""


class SchemaError(TerminalError):
    """The database's schema is not the one this version works with."""


class DeploymentMismatchError(TerminalError):
    """The database belongs to another city or time zone."""


class TopicMismatchError(TerminalError):
    """The Kafka topic exists, but is not what the platform needs."""


class LogGapError(TerminalError):
    """Records are gone from the log before anybody read them."""


class TopicRecreatedError(LogGapError):
    """The topic was deleted and created anew while it was consumed."""


class CorruptLogError(TerminalError):
    """A record batch cannot be read: it does not match its checksum, or is compressed in a way not known here."""


class UnionViolationError(TerminalError):
    """A publish would have left a covered row in the speed layer. Nothing was changed."""


class PublishContentionError(TransientError):
    """Others kept publishing an hour while this run prepared it. Nothing was changed."""


class BatchRunFailedError(TerminalError):
    """A batch run failed because of what one of its checks found."""


class ArchiveUnavailableError(TransientError):
    """The archive's folder or object store cannot be reached, read or written. Nothing was changed."""


class ArchiveContentionError(TransientError):
    """Another run replaced the archive of a day while this one wrote it. Nothing was changed."""


class ArchiveDamagedError(TerminalError):
    """A file of the archive is not what its manifest says, or is gone."""


class ArchiveMismatchError(TerminalError):
    """raw_data does not hold the rows of a day that it should. Nothing was archived."""


class EngineError(TransientError):
    """A batch engine over the archive failed: no memory, no room, no cluster. PostgreSQL can take its place."""


class ArchiveNeededError(TerminalError):
    """What is asked for is in the archive alone, and the archive is not known here, or does not hold it."""


class StaleOffsetsError(TransientError):
    """Another consumer moved the offsets of `partitions` (log partition ids): for these this one is a zombie."""

    def __init__(self, message: str, next_action: str = "", partitions: frozenset[int] = frozenset()) -> None:
        super().__init__(message, next_action)
        self.partitions = partitions


class StaleCatalogueError(TransientError):
    """What records are judged by (locations, start of history, retention floor) changed: judge them again."""


class WebhookError(TransientError):
    """A webhook did not take an alert. Its address is a secret, and is not named."""


class TooMuchError(TerminalError):
    """More was asked for than is handed out at once."""


class DeadLetterError(TerminalError):
    """A dead letter that was asked for is not there, or cannot be sent again as asked."""


class ImportRefusedError(TerminalError):
    """A file cannot be imported."""


class BackupError(TerminalError):
    """A backup cannot be written, or not be brought back."""


class EmbeddedServerError(TerminalError):
    """The embedded PostgreSQL, Kafka or another local process cannot start or stop."""
