"""`make soak`: everything runs for SOAK_MINUTES, faults from SOAK_SEED mix at random, and in the end all adds up.

Each round one to three faults hit different parts for some seconds; then everything must go on within two minutes.
Exits 1, and keeps the logs, where something was lost, counted twice, seen wrong by a reader, or did not recover.
"""

import os
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from pathlib import Path

from lambda_pipeline_tests.faults.stage import recovery_table
from lambda_pipeline_tests.soak.faults import FAULTS
from lambda_pipeline_tests.soak.stage import Soak, soak_stage

_LONGEST = 12.0  # seconds that a fault lasts; longer than the time-outs of a commit and of Kafka's session


def main() -> int:
    """Soak; the exit code."""
    minutes = float(os.environ.get("SOAK_MINUTES") or 10)
    seed = int(os.environ.get("SOAK_SEED") or secrets.randbelow(1_000_000))
    folder = Path(tempfile.mkdtemp(prefix="lambda-soak-"))
    print(f"soak: {minutes:g} minutes, SOAK_SEED={seed}, logs in {folder}", flush=True)
    recoveries: dict[str, list[float]] = {}
    try:
        with soak_stage(folder, seed) as soak:
            soak.start()
            ends = time.monotonic() + minutes * 60
            while time.monotonic() < ends:
                _round(soak, recoveries)
            print("bringing everything back …", flush=True)
            found = soak.finish()
    except BaseException as error:  # pytest's failures, which wait_for raises, are no Exceptions
        _print_table(recoveries)
        traceback.print_exc()
        print(f"VIOLATION with SOAK_SEED={seed}: {error}\nThe logs are in {folder}.", flush=True)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    _print_table(recoveries)
    for what, number in found.items():
        print(f"{what}: {number}")
    print(f"soak: every produced observation is served exactly once, after {minutes:g} minutes with SOAK_SEED={seed}")
    return 0


def _round(soak: Soak, recoveries: dict[str, list[float]]) -> None:
    """One to three faults that overlap, and the time until everything goes on."""
    soak.batch()
    chosen = [soak.rng.choice(FAULTS[part]) for part in soak.rng.sample(sorted(FAULTS), soak.rng.randint(1, 3))]
    names = [fault.__name__.replace("_", " ") for fault in chosen]
    began = time.monotonic()
    with ExitStack() as under_way:
        for fault in chosen:
            under_way.enter_context(fault(soak))
            time.sleep(soak.rng.uniform(0, _LONGEST / 3))  # how long they last is the fault
        time.sleep(soak.rng.uniform(0, _LONGEST / 2))
    lasted = time.monotonic() - began
    seconds = soak.recovers()
    for name in names:
        recoveries.setdefault(name, []).append(seconds)
    print(f"{', '.join(names)}: {lasted:.0f} s, went on after {seconds:.1f} s", flush=True)


def _print_table(recoveries: dict[str, list[float]]) -> None:
    for line in recovery_table(recoveries):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
