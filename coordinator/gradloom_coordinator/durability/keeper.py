"""Takes a checkpoint of each job from time to time, and finds the newest good one when a job goes on.

The event loop only decides and takes the state apart; one thread of its own writes and reads. A place that can't
be written to is tried again until it can; meanwhile the job stands still, because work that a crash would undo is
not worth its time.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from gradloom.errors import InvalidInput, Unavailable, WrongKey
from gradloom.settings import CoordinatorSettings
from gradloom.steps import Step
from gradloom_coordinator.durability.changes import CheckpointDropped, CheckpointKept
from gradloom_coordinator.durability.checkpoints import Checkpoint, Checkpoints, CheckpointUnusable, Place
from gradloom_coordinator.durability.writer import Forgetful, Keeping
from gradloom_coordinator.monitoring.metrics import CoordinatorMetrics
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling.events import JobId

log = logging.getLogger(__name__)
R = TypeVar("R")

KEPT = 3
"""Checkpoints of a job: one that turns out to be damaged has others before it."""
FILE_LIMIT_S = 60.0
"""How long one file may take before its place counts as not there."""
FLUSH_LIMIT_S = 5.0
"""How long the database is waited for at a time."""
FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 10.0


@dataclass(slots=True)
class _Upkeep:
    """When a job's last checkpoint was taken, and whether one is being written."""

    at: float
    round: int
    step: Step
    writing: "asyncio.Task[None]"


class CheckpointKeeper:
    """The checkpoints of all jobs; at most one of each is on its way."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        metrics: CoordinatorMetrics,
        on_trouble: Callable[[JobRun, str], None],
        say: Callable[[JobRun, str], None],
        clock: Callable[[], float],
    ) -> None:
        self.keeping: Keeping = Forgetful()
        self.epoch = 0
        """How often a coordinator has started on the database; 0 = there is none."""
        self._uri = settings.checkpoint_uri or str(settings.data_dir / "checkpoints")
        self._checkpoints = Checkpoints(self._uri, settings.keys)
        self._durable = settings.durable
        self._every_s, self._every_rounds = settings.checkpoint_every_s, settings.checkpoint_every_rounds
        self._metrics = metrics
        self._on_trouble = on_trouble
        self._say = say
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._upkeep: dict[JobId, _Upkeep] = {}
        self._removing: set[asyncio.Task[None]] = set()

    def after_round(self, run: JobRun) -> None:
        """Take a checkpoint if it is time for one."""
        training, last = run.training, self._upkeep.get(run.job_id)
        if training is None or training.step is Step.PROFILE:
            return
        rounds = run.iterations - last.round if last is not None else 0
        if (
            last is None
            or training.step is not last.step
            or self._clock() - last.at >= self._every_s
            or 0 < self._every_rounds <= rounds
        ):
            if last is not None and not last.writing.done():
                return
            if training.step is Step.TRAIN and run.traffic.waits_for_left_over(run.iterations):
                return
            self._take(run)

    async def take_last(self, runs: list[JobRun], limit_s: float) -> None:
        """One more of each job before the process ends, for at most so long."""
        for run in runs:
            last = self._upkeep.get(run.job_id)
            if run.checkpoints and run.traffic.lacks_left_over(run.iterations):
                continue  # rather some rounds again than without what workers have left out
            if last is None or (last.writing.done() and run.iterations > last.round):
                self._take(run)
        writing = [one.writing for one in self._upkeep.values() if not one.writing.done()]
        if writing:
            await asyncio.wait(writing, timeout=limit_s)

    async def check_keys(self, kept: Iterable[CheckpointKept]) -> None:
        """Refuse to start where a checkpoint could never be read: nothing may pass it over. Raises InvalidInput."""
        for one in kept:
            try:
                await self._in_thread(partial(self._checkpoints.check_key, one.uri))
            except WrongKey as error:
                raise InvalidInput(
                    "encryption_key",
                    f"does not open the checkpoint of round {one.round} of job {one.job}: {error}",
                ) from None
            except TimeoutError:  # a storage that is away is waited for by each job
                return

    async def newest(self, run: JobRun) -> tuple[Checkpoint, CheckpointKept] | None:
        """The newest checkpoint that can be used; of those that can't be, the job's journal says why.

        Only what is known to be damaged or gone is passed over; storage that is away is waited for. None also if
        the job has ended meanwhile.
        """
        for kept in list(run.checkpoints):
            try:
                if (checkpoint := await self.read(run, kept)) is not None:
                    return checkpoint, kept
            except CheckpointUnusable as error:
                self.refuse(run, kept, str(error))
            finally:
                self._on_trouble(run, "")
        return None

    async def read(self, run: JobRun, kept: CheckpointKept) -> Checkpoint | None:
        """Read it, however often it takes; None if the job has ended meanwhile. Raises CheckpointUnusable."""
        pause, said = FIRST_PAUSE_S, ""
        while not run.state.final:
            try:
                return await self._in_thread(partial(self._checkpoints.read, kept.uri, kept.sha256))
            except CheckpointUnusable:
                raise
            except Exception as error:  # noqa: BLE001 - each kind of file system raises errors of its own
                why = f"the checkpoint of round {kept.round} can't be read now: {_told(error)}"
                self._on_trouble(run, why)
                if why != said:
                    log.warning("job %s: %s; trying again", run.job_id, why)
                    self._say(run, f"{why}; trying again")
                said = why
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_S)
        return None

    def refuse(self, run: JobRun, kept: CheckpointKept, why: str) -> None:
        """A checkpoint can't be used: say so, and never look at it again."""
        log.error("job %s: the checkpoint %s can't be used: %s", run.job_id, kept.uri, why)
        self._say(run, f"the checkpoint of round {kept.round} can't be used: {why}")
        self._metrics.checkpoint_done("unusable")
        run.checkpoints = [one for one in run.checkpoints if one is not kept]
        self.keeping.put(CheckpointDropped(run.job_id, kept.round))

    def forget_after(self, run: JobRun, round_: int) -> None:
        """The job was set back: what was kept of later rounds, or is being written, is not to be gone on from."""
        run.rollbacks += 1
        later = [kept for kept in run.checkpoints if kept.round > round_]
        run.checkpoints = [kept for kept in run.checkpoints if kept.round <= round_]
        self.keeping.put(*(CheckpointDropped(run.job_id, kept.round) for kept in later), soon=True)
        if (last := self._upkeep.get(run.job_id)) is not None:
            last.round = round_

    def stop(self, run: JobRun) -> None:
        """The job has ended: it needs no more checkpoints."""
        if last := self._upkeep.get(run.job_id):
            last.writing.cancel()

    async def forget(self, run: JobRun) -> None:
        """Remove all checkpoints of a job that has ended; what can't be removed now is tried after a restart."""
        if self._upkeep.pop(run.job_id, None) is not None or run.checkpoints:
            await self._forget(run)

    async def forget_left_over(self, ended: Sequence[JobRun]) -> None:
        """Remove what is left of jobs that ended before a restart: files too of which nothing was written down."""
        try:
            left = await self._in_thread(self._checkpoints.jobs)
        except Exception as error:  # noqa: BLE001 - each kind of file system raises errors of its own
            log.warning("what is left in %s can't be listed: %s", self._uri, error)
            left = set()
        for run in ended:
            if run.job_id in left or run.checkpoints:
                await self._forget(run)

    async def _forget(self, run: JobRun) -> None:
        try:  # in the one thread, hence after a write that is under way
            await self._in_thread(partial(self._checkpoints.remove_all, run.job_id))
        except Exception as error:  # noqa: BLE001 - each kind of file system raises errors of its own
            log.warning("the checkpoints of job %s can't be removed: %s", run.job_id, error)
            return
        self.keeping.put(*(CheckpointDropped(run.job_id, kept.round) for kept in run.checkpoints))
        run.checkpoints.clear()

    # ---- one checkpoint

    def _take(self, run: JobRun) -> None:
        if not self._durable or run.rollback_to is not None:
            return
        last, checkpoint = self._upkeep.get(run.job_id), run.checkpoint()
        if checkpoint is None or (last is not None and not last.writing.done()):
            return
        assert run.training is not None
        writing = asyncio.create_task(self._keep(run, checkpoint))
        self._upkeep[run.job_id] = _Upkeep(self._clock(), checkpoint.round, run.training.step, writing)

    async def _keep(self, run: JobRun, checkpoint: Checkpoint) -> None:
        """Write it, or a newer one, however often it takes."""
        pause, rollbacks = FIRST_PAUSE_S, run.rollbacks
        while True:
            start = self._clock()
            try:
                place = await self._in_thread(
                    partial(self._checkpoints.write, run.job_id, checkpoint, self.epoch)
                )
            except Exception as error:  # noqa: BLE001 - each kind of file system raises errors of its own
                self._metrics.checkpoint_done("failed")
                self._on_trouble(run, f"no checkpoint can be written to {self._uri}: {_told(error)}")
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_S)
                if not run.traffic.lacks_left_over(run.iterations):
                    checkpoint = run.checkpoint() or checkpoint
            else:
                self._metrics.checkpoint_written(self._clock() - start, place.byte_length)
                if run.rollbacks == rollbacks:
                    self._kept(run, checkpoint, place)
                self._on_trouble(run, "")
                return

    def _kept(self, run: JobRun, checkpoint: Checkpoint, place: Place) -> None:
        kept = CheckpointKept(run.job_id, checkpoint.round, place.uri, place.sha256, time.time())
        older = [one for one in run.checkpoints if one.round != kept.round]
        run.checkpoints = [kept, *older[: KEPT - 1]]
        dropped = [CheckpointDropped(run.job_id, one.round) for one in older[KEPT - 1 :]]
        self.keeping.put(kept, *dropped, soon=True)
        if dropped:
            removing = asyncio.create_task(self._remove(run, older[KEPT - 1 :]))
            self._removing.add(removing)  # the event loop itself keeps only a weak reference
            removing.add_done_callback(self._removing.discard)

    async def _remove(self, run: JobRun, old: list[CheckpointKept]) -> None:
        """Once their successors are durable: until then a restart knows of nothing else."""
        while True:
            try:
                await self.keeping.flush(FLUSH_LIMIT_S)
                for one in old:
                    await self._in_thread(partial(self._checkpoints.remove, one.uri))
            except Unavailable:
                continue  # it has waited for a while
            except Exception as error:  # noqa: BLE001 - what is left over does no harm: it goes with the job
                log.warning("old checkpoints of job %s can't be removed: %s", run.job_id, error)
            return

    async def _in_thread(self, work: Callable[[], R]) -> R:
        return await asyncio.wait_for(
            asyncio.get_running_loop().run_in_executor(self._thread, work), FILE_LIMIT_S
        )


def _told(error: Exception) -> str:
    """What is said of a file system's error: the same words for the same trouble, whichever file it is about."""
    if isinstance(error, TimeoutError) and not str(error):
        return f"it took more than {FILE_LIMIT_S:g} s"
    if isinstance(error, OSError) and error.errno is not None:
        return f"[Errno {error.errno}] {error.strerror}"
    return str(error) or type(error).__name__
