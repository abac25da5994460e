"""Dead letters: records that are no valid observation. Both layers meet the same ones, and each is kept once."""

from collections.abc import Sequence

import sqlalchemy as sa

from lambda_pipeline.domain.log import DeadLetter

_INSERT = sa.text(
    "insert into dead_letters (log_partition, log_offset, appended_at, key, payload, error) "
    "values (:log_partition, :log_offset, :appended_at, :key, :payload, :error) "
    "on conflict (log_partition, log_offset) do nothing"
)


def insert_dead_letters(connection: sa.Connection, letters: Sequence[DeadLetter]) -> None:
    """Keep dead letters, in position order."""
    if letters:
        connection.execute(_INSERT, [letter._asdict() for letter in sorted(letters, key=lambda letter: letter[:2])])
