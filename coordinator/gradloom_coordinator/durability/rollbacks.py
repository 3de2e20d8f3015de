"""Sets jobs back to a checkpoint: between two rounds, or while they wait with one that nobody has been told of.

The checkpoint is read in the background, however often it takes; a job that waits is held meanwhile, so that nobody
opens its round. A later request takes the place of an earlier one that is not done yet.
"""

from collections.abc import Callable, Coroutine
from typing import Protocol

from gradloom_coordinator.durability.changes import CheckpointKept
from gradloom_coordinator.durability.checkpoints import CheckpointUnusable
from gradloom_coordinator.durability.keeper import CheckpointKeeper
from gradloom_coordinator.runs import Hold, JobRun


class Holder(Protocol):
    """What has a job stand still."""

    def __call__(self, hold: Hold, run: JobRun, trouble: str, resumed: str = "") -> None:
        """For this reason; an empty one lets it go on."""
        ...


class Rollbacks:
    """The rollbacks of all jobs; at most one of each is under way."""

    def __init__(
        self,
        keeper: CheckpointKeeper,
        in_background: Callable[[str, Coroutine[None, None, None]], None],
        hold: Holder,
        say: Callable[[JobRun, str], None],
        prepare_again: Callable[[JobRun], None],
        go_to_next: Callable[[JobRun], None],
    ) -> None:
        self._keeper = keeper
        self._in_background = in_background
        self._hold = hold
        self._say = say
        self._prepare_again = prepare_again
        self._go_to_next = go_to_next
        self._under_way: set[str] = set()

    def request(self, run: JobRun, kept: CheckpointKept) -> None:
        """Set a job back: now if it waits, else when its open round is over."""
        run.rollback_to = kept
        run.rollbacks += 1  # what is being written now is not to be gone on from
        if run.waits and run.job_id not in self._under_way:
            self._hold(Hold.ROLLBACK, run, f"it is set back to round {kept.round}")
            self._begin(run)

    def due(self, run: JobRun) -> bool:
        """Between two rounds: whether a rollback takes the place of the next one."""
        if run.rollback_to is None:
            return False
        self._begin(run)
        return True

    def _begin(self, run: JobRun) -> None:
        self._under_way.add(run.job_id)
        self._in_background(run.job_id, self._set_back(run))

    async def _set_back(self, run: JobRun) -> None:
        waits = run.waits
        try:
            while (kept := run.rollback_to) is not None and not run.state.final:
                await self._try(run, kept)
        finally:
            self._under_way.discard(run.job_id)
        if run.state.final or run.training is None:
            return
        if waits:
            self._prepare_again(run)
            self._hold(Hold.ROLLBACK, run, "", resumed=f"it goes on from round {run.iterations}")
        else:
            self._go_to_next(run)

    async def _try(self, run: JobRun, kept: CheckpointKept) -> None:
        """One request, unless another one comes while its checkpoint is read."""
        try:
            checkpoint = await self._keeper.read(run, kept)
            if run.rollback_to is not kept or run.state.final or run.training is None:
                return
            run.rollback_to = None
            if checkpoint is not None:
                run.go_back_to(checkpoint)
                self._keeper.forget_after(run, kept.round)
                self._say(run, f"it is set back to round {run.iterations}")
        except (CheckpointUnusable, ValueError) as error:
            if run.rollback_to is kept:
                run.rollback_to = None
            self._keeper.refuse(run, kept, str(error))
        finally:
            self._hold(Hold.CHECKPOINTS, run, "")
