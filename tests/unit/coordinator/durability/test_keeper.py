"""When checkpoints are taken, how many are kept, and what happens where they can't be written or read."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from builders.averaging import Averaging, manifest_of, write_rows
from builders.shards import read_shard
from gradloom.canonical import Range
from gradloom.data.preparation import Split
from gradloom.data.profile import profile_shard
from gradloom.errors import Unavailable
from gradloom.jobs import JobState
from gradloom.settings import CoordinatorSettings
from gradloom.specs import DataSpec, JobSpec
from gradloom_coordinator.durability import keeper as module
from gradloom_coordinator.durability.changes import Change, CheckpointDropped, CheckpointKept
from gradloom_coordinator.durability.keeper import CheckpointKeeper
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.monitoring.metrics import CoordinatorMetrics
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.training import Training

LIMIT_S = 20.0
SUMS = {"error": [9.0], "loss": 41.0, "rows": 3.0}


class FullDisk(MemoryFileSystem):
    """Takes files only while there is room."""

    protocol = "fulldisk"
    store: ClassVar[dict[str, Any]] = {}
    full = False
    away = False

    def pipe_file(self, path: str, value: bytes, **kwargs: Any) -> None:
        if FullDisk.full:
            raise OSError(28, "No space left on device")
        super().pipe_file(path, value, **kwargs)

    def cat_file(self, path: str, *args: Any, **kwargs: Any) -> bytes:
        if FullDisk.away:
            raise OSError(5, "Input/output error", path)
        return bytes(super().cat_file(path, *args, **kwargs))


@dataclass
class Setup:
    """A job at a round boundary, and its keeper."""

    run: JobRun
    keeper: CheckpointKeeper
    metrics: CoordinatorMetrics
    now: float = 0.0
    troubles: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    said: list[str] = field(default_factory=list)
    written: list[Change] = field(default_factory=list)
    durable: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the database is there."""
    flushed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.durable.set()

    def put(self, *changes: Change, soon: bool = False) -> None:
        self.written += changes

    async def flush(self, limit_s: float) -> None:
        self.flushed.set()
        if not self.durable.is_set():
            await asyncio.sleep(0)
            raise Unavailable("the database is away")

    def trouble(self, _: JobRun, reason: str) -> None:
        self.troubles.append(reason)
        self.news.set()

    def rounds(self, n: int = 1) -> None:
        """Do rounds of training, and let the keeper look at each."""
        for _ in range(n):
            close_round(self.run)
            self.keeper.after_round(self.run)

    async def settled(self) -> None:
        """Wait until nothing is being written."""
        async with asyncio.timeout(LIMIT_S):
            while writing := [one.writing for one in self.keeper._upkeep.values() if not one.writing.done()]:
                await asyncio.wait(writing)

    async def removed(self) -> None:
        """Wait until no file is to be removed any more."""
        async with asyncio.timeout(LIMIT_S):
            while removing := list(self.keeper._removing):
                await asyncio.wait(removing)

    async def heard(self) -> str:
        async with asyncio.timeout(LIMIT_S):
            await self.news.wait()
        self.news.clear()
        return self.troubles[-1]

    @property
    def kept(self) -> list[int]:
        return [kept.round for kept in self.run.checkpoints]

    def count(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("gradloom_checkpoints_total", {"result": result}) or 0.0


def close_round(run: JobRun) -> None:
    run.prepare_round(1, now=1.0)
    training, collector = run.training, run.collector
    assert training is not None
    assert collector is not None
    if training.schema is None:
        collector.add(Range(0, 1), profile_shard(read_shard(training.manifest, 0), Split()))
    else:
        collector.add(Range(0, 1), {name: np.array(value) for name, value in SUMS.items()})
    run.close_round(now=2.0, workers=1)


def spoil(uri: str, damage: str) -> None:
    path = Path(uri.removeprefix("file://"))
    data = path.read_bytes()
    match damage:
        case "torn":
            path.write_bytes(data[: len(data) // 2])
        case "flipped":
            path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
        case "gone":
            path.unlink()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints" / "job").iterdir())


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Setup]:
    def setup(**settings: Any) -> Setup:
        manifest = manifest_of(write_rows(tmp_path, [1.0, 2.0, 6.0]), 1)
        run = JobRun("job", JobSpec("averaging", DataSpec(("data.csv",), "y")), Journal(), 1.7e9)
        run.state, run.training = JobState.RUNNING, Training(Averaging(1000), manifest, Split())
        metrics = CoordinatorMetrics()
        given = CoordinatorSettings(data_dir=tmp_path, **settings)
        setup = Setup(run, None, metrics)  # type: ignore[arg-type]
        say = lambda _, text: setup.said.append(text)  # noqa: E731
        setup.keeper = CheckpointKeeper(given, metrics, setup.trouble, say, lambda: setup.now)
        setup.keeper.keeping = setup  # type: ignore[assignment]
        return setup

    return setup


@pytest.fixture
async def full_disk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    fsspec.register_implementation("fulldisk", FullDisk, clobber=True)
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    FullDisk.full = FullDisk.away = False
    yield "fulldisk://checkpoints"
    FullDisk.store.clear()


async def test_the_first_one_is_taken_when_the_data_is_known_and_then_by_time(
    make: Callable[..., Setup],
) -> None:
    job = make(checkpoint_every_s=10.0)
    job.rounds()  # the profile
    await job.settled()
    assert job.kept == [0]
    job.now = 9.9
    job.rounds(5)
    await job.settled()
    assert job.kept == [0]
    job.now = 10.0
    job.rounds()
    await job.settled()
    assert job.kept == [6, 0]
    assert [change.round for change in job.written if isinstance(change, CheckpointKept)] == [0, 6]


async def test_or_by_rounds_whichever_comes_first(make: Callable[..., Setup]) -> None:
    job = make(checkpoint_every_s=1e9, checkpoint_every_rounds=4)
    for _ in range(10):
        job.rounds()
        await job.settled()
    assert job.kept == [8, 4, 0]


async def test_three_are_kept_and_the_rest_is_removed(make: Callable[..., Setup], tmp_path: Path) -> None:
    job = make(checkpoint_every_s=0.0)
    for _ in range(6):
        job.rounds()
        await job.settled()
    assert job.kept == [5, 4, 3]
    assert [change.round for change in job.written if isinstance(change, CheckpointDropped)] == [0, 1, 2]
    await job.removed()
    assert files(tmp_path) == [f"round-{round_:09d}.safetensors" for round_ in (3, 4, 5)]


async def test_a_file_stays_until_the_database_knows_of_its_successor(
    make: Callable[..., Setup], tmp_path: Path
) -> None:
    job = make(checkpoint_every_s=0.0)
    job.durable.clear()
    for _ in range(4):
        job.rounds()
        await job.settled()
    async with asyncio.timeout(LIMIT_S):
        for _ in range(3):
            job.flushed.clear()
            await job.flushed.wait()
    assert len(files(tmp_path)) == 4
    job.durable.set()
    await job.removed()
    assert files(tmp_path) == [f"round-{round_:09d}.safetensors" for round_ in (1, 2, 3)]


async def test_only_one_is_on_its_way_at_a_time(make: Callable[..., Setup]) -> None:
    job = make(checkpoint_every_s=0.0)
    job.rounds(50)  # the event loop does not run in between
    await job.settled()
    assert job.kept == [0]
    assert job.count("written") == 1


async def test_a_job_goes_on_from_its_checkpoint_to_the_same_bits(make: Callable[..., Setup]) -> None:
    job, other = make(checkpoint_every_s=0.0), make()
    job.rounds(1)
    await job.settled()
    job.rounds(4)
    await job.settled()
    job.rounds(3)
    newest = await job.keeper.newest(job.run)
    assert newest is not None
    other.run.go_on_from(newest[0])
    assert other.run.iterations == newest[0].round == 1
    for _ in range(job.run.iterations - 1):
        close_round(other.run)
    assert job.run.training is not None
    assert other.run.training is not None
    assert job.run.training.message()["mean"].tobytes() == other.run.training.message()["mean"].tobytes()
    assert (other.run.train_rows_done, other.run.iterations) == (job.run.train_rows_done, 7)


@pytest.mark.parametrize("damage", ["torn", "flipped", "gone"])
async def test_a_damaged_one_is_said_to_be_and_the_one_before_is_taken(
    make: Callable[..., Setup], damage: str
) -> None:
    job = make(checkpoint_every_s=0.0)
    for _ in range(3):
        job.rounds()
        await job.settled()
    spoil(job.run.checkpoints[0].uri, damage)
    newest = await job.keeper.newest(job.run)
    assert newest is not None
    assert newest[0].round == 1
    assert job.kept == [1, 0]
    assert len(job.said) == 1
    assert job.said[0].startswith("the checkpoint of round 2 can't be used: ")
    assert CheckpointDropped("job", 2) in job.written
    assert job.count("unusable") == 1


async def test_storage_that_is_away_is_waited_for_and_costs_no_checkpoint(
    make: Callable[..., Setup], full_disk: str
) -> None:
    job = make(checkpoint_every_s=0.0, checkpoint_uri=full_disk)
    for _ in range(3):
        job.rounds()
        await job.settled()
    job.news.clear()
    FullDisk.away = True
    reading = asyncio.create_task(job.keeper.newest(job.run))
    assert await job.heard() == "the checkpoint of round 2 can't be read now: [Errno 5] Input/output error"
    await job.heard()
    FullDisk.away = False
    async with asyncio.timeout(LIMIT_S):
        newest = await reading
    assert newest is not None
    assert (newest[0].round, job.kept, job.troubles[-1]) == (2, [2, 1, 0], "")
    assert len(job.said) == 1, "the same trouble is said once"
    assert job.count("unusable") == 0


async def test_a_folder_that_is_not_there_may_come_back(
    make: Callable[..., Setup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    job = make(checkpoint_every_s=0.0)
    job.rounds()
    await job.settled()
    job.news.clear()
    folder = (tmp_path / "checkpoints").rename(tmp_path / "unmounted")
    reading = asyncio.create_task(job.keeper.newest(job.run))
    assert "there is no folder" in await job.heard()
    folder.rename(tmp_path / "checkpoints")
    async with asyncio.timeout(LIMIT_S):
        assert await reading is not None
    assert job.kept == [0]


async def test_nobody_waits_for_the_checkpoint_of_a_job_that_has_ended(
    make: Callable[..., Setup], full_disk: str
) -> None:
    job = make(checkpoint_every_s=0.0, checkpoint_uri=full_disk)
    job.rounds()
    await job.settled()
    job.news.clear()
    FullDisk.away = True
    reading = asyncio.create_task(job.keeper.newest(job.run))
    await job.heard()
    job.run.state = JobState.CANCELLED
    async with asyncio.timeout(LIMIT_S):
        assert await reading is None
    assert job.kept == [0]


async def test_without_a_good_one_there_is_none(make: Callable[..., Setup]) -> None:
    job = make(checkpoint_every_s=0.0)
    job.rounds()
    await job.settled()
    spoil(job.run.checkpoints[0].uri, "torn")
    assert await job.keeper.newest(job.run) is None
    assert job.kept == []


async def test_a_full_disk_is_told_and_tried_again_until_there_is_room(
    make: Callable[..., Setup], full_disk: str
) -> None:
    job = make(checkpoint_every_s=0.0, checkpoint_uri=full_disk)
    FullDisk.full = True
    job.rounds()
    assert (
        "no checkpoint can be written to fulldisk://checkpoints: [Errno 28] No space left"
        in await job.heard()
    )
    job.rounds(2)  # the round that was open
    while job.count("failed") < 3:
        await job.heard()
    assert job.kept == []
    FullDisk.full = False
    while await job.heard():
        pass
    assert job.kept == [2], "what is written is where the job stands, not where it stood"
    newest = await job.keeper.newest(job.run)
    assert newest is not None
    assert newest[0].round == 2


async def test_a_checkpoint_names_the_round_of_its_own_state(make: Callable[..., Setup]) -> None:
    job = make()
    job.rounds(3)
    run = job.run
    assert run.training is not None
    run.training.advance({name: np.array(value) for name, value in SUMS.items()})  # people are not told yet
    assert run.iterations == 2
    checkpoint = run.checkpoint()
    assert checkpoint is not None
    assert checkpoint.round == 3
    other = make().run
    other.go_on_from(checkpoint)
    assert other.iterations == 3


async def test_the_last_ones_are_taken_before_the_end_within_a_limit(
    make: Callable[..., Setup], full_disk: str
) -> None:
    job = make(checkpoint_every_s=1e9, checkpoint_uri=full_disk)
    job.rounds()
    await job.settled()
    job.rounds(7)
    await job.keeper.take_last([job.run], LIMIT_S)
    assert job.kept == [7, 0]
    FullDisk.full = True
    job.rounds()
    async with asyncio.timeout(LIMIT_S):
        await job.keeper.take_last([job.run], 0.05)
    assert job.kept == [7, 0]
    job.keeper.stop(job.run)


async def test_nothing_is_left_of_a_job_that_has_ended(make: Callable[..., Setup], tmp_path: Path) -> None:
    job = make(checkpoint_every_s=0.0)
    job.rounds(3)
    await job.settled()
    job.keeper.stop(job.run)
    await job.keeper.forget(job.run)
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert job.run.checkpoints == []


async def test_what_a_crash_has_left_of_jobs_that_had_ended_is_removed_whatever_was_written_down(
    make: Callable[..., Setup], tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    await make().keeper.forget_left_over([make().run])  # there is no folder at all
    for name in ("job", "other"):
        (folder / name).mkdir(parents=True)
        (folder / name / "round-000000007.safetensors.part").write_bytes(b"half of one")
    ended = make()
    assert ended.run.checkpoints == []
    await ended.keeper.forget_left_over([ended.run])
    assert [path.name for path in folder.iterdir()] == ["other"]
