"""What people do to live jobs: change, pause, resume, step, roll back, annotate. Durable before it is acknowledged.

Nothing is scheduled here and no round is touched: a change is written down, the job is told, and from the next round on
it goes by it.
"""

import time
from collections.abc import Callable, Sequence

from gradloom.errors import Conflict, InvalidInput, Outdated
from gradloom.jobs import JobState, JobView
from gradloom.specs import JobSpec
from gradloom.steered import PAUSED, ROLLBACK
from gradloom_coordinator.durability import changes as ch
from gradloom_coordinator.lifecycle import Lifecycle
from gradloom_coordinator.records import JobRecords
from gradloom_coordinator.runs import Hold, JobRun
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.steering import Alteration, alterations, changed, etag_of

MAX_STEPS = 1_000_000
MAX_NOTE = 2000
"""Letters of a person's note."""


class Control:
    """Steers the jobs of one coordinator. ``who`` is the person, as far as that is known."""

    def __init__(
        self,
        jobs: Lifecycle,
        records: JobRecords,
        dispatch: Callable[[e.Event], None],
        view: Callable[[JobRun], JobView],
    ) -> None:
        self._jobs = jobs
        self._records = records
        self._dispatch = dispatch
        self._view = view

    async def change(
        self, job_id: str, wanted: JobSpec, paths: Sequence[str], etag: str, who: str
    ) -> JobView:
        """Have what the paths name be as in ``wanted`` from the next round on.

        Raises NotFound, InvalidInput, Conflict if the job has ended, Outdated, Unavailable.
        """
        run = self._live(job_id)
        if changes := alterations(run.spec, wanted, paths):
            now = etag_of(run.spec)
            if etag not in ("", now):
                raise Outdated(
                    f"job {job_id} was changed since it was looked at: its etag is {now}, not {etag}"
                )
            self._record(run, changes, who)
            run.steer(changes)
            self._dispatch(changed(job_id, run.in_force, changes))
            for one in changes:
                self._jobs.say(run, f"{one} ({who})")
            self._jobs.prepare_again(run)
        return await self._acknowledged(run)

    async def pause(self, job_id: str, reason: str, who: str) -> JobView:
        """Have a job stand still once its open round is over. Raises NotFound, Conflict, Unavailable."""
        run = self._in_training(job_id)
        if Hold.PERSON not in run.holds:
            text = f"paused by {who}" + (f": {reason}" if reason else "")
            self._record(run, [Alteration(PAUSED, run.paused_after_steps, text)], who)
            self._jobs.hold(Hold.PERSON, run, text)
        run.count_steps(None)
        return await self._acknowledged(run)

    async def resume(self, job_id: str, who: str) -> JobView:
        """Let a job go on that a person has paused. Raises NotFound, Conflict, Unavailable."""
        run = self._live(job_id)
        if paused := run.holds.get(Hold.PERSON) or run.paused_after_steps:
            self._record(run, [Alteration(PAUSED, paused, "")], who)
            self._jobs.hold(Hold.PERSON, run, "", resumed=f"resumed by {who}")
        run.count_steps(None)
        return await self._acknowledged(run)

    async def step(self, job_id: str, rounds: int, who: str) -> JobView:
        """Let a job do so many rounds of training, then stand still. After a restart it stands still at once.

        Raises NotFound, InvalidInput, Conflict, Unavailable.
        """
        run = self._in_training(job_id)
        if not 1 <= rounds <= MAX_STEPS:
            raise InvalidInput("rounds", f"{rounds} is not allowed; it must lie in [1, {MAX_STEPS}]")
        text = f"paused after the {rounds} round(s) that {who} asked for"
        self._record(run, [Alteration(PAUSED, run.holds.get(Hold.PERSON, ""), text)], who)
        run.count_steps(rounds, text)
        self._jobs.say(run, f"{who} lets it do {rounds} round(s)")
        self._jobs.hold(Hold.PERSON, run, "", resumed=f"{rounds} round(s) for {who}")
        return await self._acknowledged(run)

    async def roll_back(self, job_id: str, round_: int, who: str) -> JobView:
        """Set a job back to its checkpoint of a round. Raises NotFound, InvalidInput, Conflict, Unavailable."""
        run = self._in_training(job_id)
        kept = next((one for one in run.checkpoints if one.round == round_), None)
        if kept is None:
            there = ", ".join(str(one.round) for one in run.checkpoints) or "none"
            raise InvalidInput(
                "round", f"there is no checkpoint of round {round_}; those of job {job_id}: {there}"
            )
        if run.training is None or run.training.finished:
            raise Conflict(f"job {job_id} is {run.state}, with no round that could be set back")
        self._record(run, [Alteration(ROLLBACK, str(run.iterations), str(round_))], who)
        self._jobs.say(run, f"{who} sets it back to the checkpoint of round {round_}")
        self._jobs.rollbacks.request(run, kept)
        return await self._acknowledged(run)

    async def annotate(self, job_id: str, text: str, who: str) -> None:
        """Add a person's words to the job's events. Raises NotFound, InvalidInput, Conflict, Unavailable."""
        run = self._live(job_id)
        if not 0 < len(text.strip()) <= MAX_NOTE:
            raise InvalidInput("text", f"{len(text)} letters are not allowed; 1 to {MAX_NOTE} are")
        self._jobs.refuse_if_not_kept()
        self._jobs.say(run, f"{who}: {text.strip()}")
        await self._jobs.acknowledge()

    def _live(self, job_id: str) -> JobRun:
        run = self._records.named(job_id)
        if run.state.final:
            raise Conflict(f"job {job_id} is {run.state} and can't be changed any more")
        return run

    def _in_training(self, job_id: str) -> JobRun:
        run = self._live(job_id)
        if run.state is JobState.SERVING:
            raise Conflict(f"job {job_id} is trained and serves queries: nothing of it could stand still")
        return run

    def _record(self, run: JobRun, changes: Sequence[Alteration], who: str) -> None:
        """Write changes down, from the next round on. Raises Unavailable while that can't be kept."""
        self._jobs.refuse_if_not_kept()
        now, round_ = time.time(), run.next_update
        steered = [ch.Steered(run.job_id, round_, who, now, one.field, one.old, one.new) for one in changes]
        self._jobs.keep(*steered)
        run.steering += steered

    async def _acknowledged(self, run: JobRun) -> JobView:
        await self._jobs.acknowledge()
        return self._view(run)
