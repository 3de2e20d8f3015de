"""Waiting until a coordinator's database knows of something."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from gradloom import LocalCluster
from gradloom.client import Job

LIMIT_S = 60.0


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, within a limit."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {LIMIT_S:g} s: {what}"
        time.sleep(0.01)


def kept_checkpoints(cluster: LocalCluster, job: Job) -> list[Path]:
    """The files of the job's checkpoints that the database knows of, the newest first."""
    uri = f"file:{cluster.data_dir / 'gradloom.db'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=10.0)) as database:
        query = "SELECT uri FROM checkpoints WHERE job = ? ORDER BY round DESC"
        found = database.execute(query, (job.id,)).fetchall()
    return [Path(one.removeprefix("file://")) for (one,) in found]


def until_durable(cluster: LocalCluster, job: Job, after_round: int) -> None:
    """Wait until the database knows of a checkpoint that was taken after a round."""
    uri = f"file:{cluster.data_dir / 'gradloom.db'}?mode=ro"

    def newest() -> int:
        with closing(sqlite3.connect(uri, uri=True, timeout=10.0)) as database:
            found = database.execute("SELECT max(round) FROM checkpoints WHERE job = ?", (job.id,)).fetchone()
        return int(found[0] or 0)

    until(lambda: newest() > after_round, f"a checkpoint of {job.id} after round {after_round} is durable")
