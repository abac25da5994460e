"""How the log's partitions are shared out over readers, and how many readers there are by themselves."""

import os
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest

from lambda_pipeline.batch.raw_parallel import default_readers
from lambda_pipeline.batch.raw_share import LEAST_SHARE, Share, split
from lambda_pipeline.storage.log_partitions import LogPartition
from lambda_pipeline.stream.reader import LogBounds

FULL = LEAST_SHARE


def share_of(ends: Sequence[int], beginning: int = 0) -> Share:
    """Partitions 0, 1 … of these ends, with the ids 10, 11 …"""
    partitions = {number: LogPartition(10 + number, UUID(int=1), "t", number) for number in range(len(ends))}
    return Share(partitions, {number: LogBounds(beginning, end) for number, end in enumerate(ends)})


@pytest.mark.parametrize(
    ("ends", "most", "expected"),
    [
        ([FULL] * 4, 1, [[0, 1, 2, 3]]),
        ([FULL] * 4, 2, [[0, 2], [1, 3]]),
        ([FULL] * 4, 4, [[0], [1], [2], [3]]),
        ([FULL] * 4, 64, [[0], [1], [2], [3]]),
        ([FULL] * 4, 3, [[0, 3], [1], [2]]),
        ([4 * FULL, FULL, FULL, 2 * FULL], 2, [[0], [3, 1, 2]]),
        ([120_000 // 4] * 4, 4, [[0, 1, 2, 3]]),  # the steady hour
        ([FULL - 1, FULL], 2, [[0, 1]]),
        ([FULL, FULL], 2, [[0], [1]]),
        ([10 * FULL, 5, 5, 5], 4, [[0, 1, 2, 3]]),  # all in one partition
        ([3 * FULL, 0, 3 * FULL, 0], 4, [[0, 1, 3], [2]]),
        ([0, 0], 4, [[0, 1]]),
    ],
)  # fmt: skip
def test_partitions_are_shared_out_evenly_where_that_is_worth_a_process(
    ends: list[int], most: int, expected: list[list[int]]
) -> None:
    shares = split(share_of(ends), {}, most)
    assert [sorted(share.partitions) for share, _ in shares] == [sorted(numbers) for numbers in expected]
    assert [records for _, records in shares] == [sum(ends[number] for number in numbers) for numbers in expected]
    assert all(share.bounds.keys() == share.partitions.keys() for share, _ in shares)


def test_what_counts_is_what_is_left_to_read() -> None:
    share = share_of([3 * FULL, 3 * FULL, 3 * FULL], beginning=FULL)
    stored = {10: 3 * FULL, 11: 2 * FULL}
    assert [(sorted(part.partitions), records) for part, records in split(share, stored, 3)] == [
        ([2], 2 * FULL), ([0, 1], FULL),
    ]  # fmt: skip


def test_a_frontier_beyond_the_end_leaves_nothing() -> None:
    assert [records for _, records in split(share_of([5, FULL]), {10: 9}, 2)] == [FULL]


@pytest.mark.parametrize(("processors", "readers"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (64, 4)])
def test_there_is_a_reader_for_every_two_processors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, processors: int, readers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
    assert default_readers(tmp_path / "no-container") == readers


@pytest.mark.parametrize(("limit", "readers"), [("max 100000", 4), ("200000 100000", 1), ("450000 100000", 2), ("", 4)])
def test_a_containers_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, readers: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    (tmp_path / "cpu.max").write_text(limit + "\n")
    assert default_readers(tmp_path / "cpu.max") == readers
