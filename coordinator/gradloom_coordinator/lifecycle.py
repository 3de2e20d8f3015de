"""Carries jobs through their lives: planning, rounds, the model, and going on after a restart.

The scheduler says when; this does it, and writes down whatever a coordinator that comes after us must know. No
streams of workers here, and nothing is decided but when a job must stand still because it could not be kept.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from itertools import count

from gradloom.errors import GradloomError, Unavailable
from gradloom.jobs import JobHappening, JobState, JobView, Note, RoundCompleted, StateChanged
from gradloom.settings import CoordinatorSettings
from gradloom.specs import JobSpec
from gradloom.steps import Step
from gradloom_coordinator.durability import changes as ch
from gradloom_coordinator.durability.keeper import CheckpointKeeper
from gradloom_coordinator.durability.model_files import ModelFiles
from gradloom_coordinator.durability.restoring import restored_run
from gradloom_coordinator.durability.rollbacks import Rollbacks
from gradloom_coordinator.durability.writer import Forgetful, Keeping
from gradloom_coordinator.monitoring.metrics import CoordinatorMetrics
from gradloom_coordinator.planning import Planner
from gradloom_coordinator.readable import readable
from gradloom_coordinator.records import JobRecords
from gradloom_coordinator.runs import Hold, JobRun
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.serving import Serving
from gradloom_coordinator.steering import altered, as_alteration, changed, differences
from gradloom_coordinator.submitting import submitted
from gradloom_coordinator.training import Training
from gradloom_coordinator.wording import plain

log = logging.getLogger(__name__)

ACKNOWLEDGE_LIMIT_S = 5.0
"""How long a person waits for the database."""
FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 10.0


class Lifecycle:
    """The jobs of a coordinator, from their submission on."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        metrics: CoordinatorMetrics,
        records: JobRecords,
        dispatch: Callable[[e.Event], None],
        break_: Callable[[str, Exception], None],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self.may_read = readable(settings)
        self._metrics = metrics
        self._records = records
        self._dispatch = dispatch
        self._break = break_
        self._clock = clock
        self._began = clock()
        self._keeping: Keeping = Forgetful()
        self._keeper = CheckpointKeeper(
            settings, metrics, partial(self.hold, Hold.CHECKPOINTS), self.say, clock
        )
        self.models = ModelFiles(settings)
        self.serving = Serving(dispatch, self._next_round, self.models.load)
        self.rollbacks = Rollbacks(
            self._keeper, self._in_background, self.hold, self.say, self.prepare_again, self._go_to_next
        )
        self._transfer_ids = count(1)
        self._first_round = 0
        self._scheduled: set[str] = set()
        """Jobs that the scheduler knows of: not those that ended before a restart."""
        self._ending: dict[str, JobView] = {}
        """How jobs have ended whose end is not known to be durable."""
        self._background: set[asyncio.Task[None]] = set()
        self._planner = Planner(settings.planning_timeout_s, self.may_read, self.keep, dispatch, clock)

    # ---- what is kept

    def keep_with(self, keeping: Keeping, starts: int) -> None:
        """Write everything down from now on; ``starts`` = how often a coordinator has started on these jobs."""
        self._keeping = self._keeper.keeping = keeping
        # round numbers never come again: workers may still compute for the coordinator before us
        self._first_round = starts << 32
        self.models.epoch = self._keeper.epoch = starts

    async def check_keys(self, stored: list[ch.StoredJob]) -> None:
        """Raise InvalidInput if a job could only go on from a checkpoint whose key is not here."""
        await self._keeper.check_keys(
            kept for job in stored if not job.state.final for kept in job.checkpoints
        )

    def go_on(self, stored: list[ch.StoredJob]) -> None:
        """Take up what a coordinator before us has left, in the order of submission."""
        now, ended = time.time(), list[JobRun]()
        for job in stored:
            run = restored_run(job, now, self._clock())
            run.model_path = self.models.found(job.model_path) if run.model_path else None
            run.round = self._first_round
            self._records.keep(run, job.client_token)
            if run.state.final:
                ended.append(run)
                continue
            if not run.restored:
                self.say(run, "the coordinator came back")
            self._submit(run)
            if run.held_because:
                self._dispatch(e.PauseRequested(run.job_id, run.held_because))
        if ended:
            self._in_background(ended[0].job_id, self._keeper.forget_left_over(ended))

    async def acknowledge(self) -> None:
        """Wait until all that was done so far is durable. Raises Unavailable, or GradloomError if some of it is not."""
        ending = list(self._ending)
        await self._keeping.flush(ACKNOWLEDGE_LIMIT_S)
        for job_id in ending:
            self._show_end(job_id)

    def on_health(self, trouble: str) -> None:
        """The database is away, for this reason; or back, if it is empty."""
        for run in list(self._records.runs.values()):
            self.hold(Hold.DATABASE, run, trouble)

    async def take_last_checkpoints(self, limit_s: float) -> None:
        """So that nothing is computed twice when the coordinator comes back."""
        await self._keeper.take_last(list(self._records.runs.values()), limit_s)

    # ---- people

    def add(self, spec: JobSpec, client_token: str) -> JobRun:
        """Queue a job. Raises Unavailable while it can't be kept."""
        self.refuse_if_not_kept()
        run = self._records.new(spec, client_token, time.time())
        run.round = self._first_round
        self._keeping.put(ch.JobAdded(run.job_id, spec, client_token, run.created_at))
        self._note(run, StateChanged(JobState.QUEUED, "submitted"))
        if forgotten := tuple(self._records.forget_oldest(self._settings.max_ended_jobs)):
            self._keeping.put(ch.JobsForgotten(forgotten))
        for job_id in forgotten:
            self._metrics.forget_job(job_id)
            self.serving.forget(job_id)
            if job_id in self._scheduled:
                self._scheduled.remove(job_id)
                self._dispatch(e.JobForgotten(job_id))
            if not self._settings.durable:  # nobody will look for it after a restart
                self.models.new(job_id).unlink(missing_ok=True)
        self._submit(run)
        return run

    def keep(self, *changes: ch.Change) -> None:
        """Write something down at once."""
        self._keeping.put(*changes, soon=True)

    def refuse_if_not_kept(self) -> None:
        """Raise Unavailable while nothing can be written down."""
        if self._keeping.trouble:
            raise Unavailable(self._keeping.trouble)

    def _submit(self, run: JobRun) -> None:
        self._scheduled.add(run.job_id)
        self._dispatch(submitted(run))

    def say(self, run: JobRun, text: str) -> None:
        """Tell everybody something in words."""
        self._note(run, Note(plain(text)))

    def _note(self, run: JobRun, what: JobHappening) -> None:
        added = ch.EventAdded(run.job_id, run.journal.add(time.time(), what))
        self._keeping.put(added, soon=isinstance(what, StateChanged))

    def tell(self, job_id: str, what: JobHappening) -> None:
        """Tell everybody what happened to a job."""
        self._note(self._records.runs[job_id], what)

    # ---- planning

    def plan(self, run: JobRun) -> None:
        """Look at the job's files, in the background."""
        self._in_background(run.job_id, self._planner.plan(run))

    # ---- rounds

    def start_rounds(self, run: JobRun) -> None:
        """Begin with the first round, or go on from the newest checkpoint."""
        if run.restored:
            self._in_background(run.job_id, self._go_on(run))
        else:
            self._next_round(run)

    async def _go_on(self, run: JobRun) -> None:
        run.restored = False
        where = "starts again with round 1: there is no checkpoint"
        while (newest := await self._keeper.newest(run)) is not None:
            checkpoint, kept = newest
            if run.state.final or run.training is None:
                return
            try:
                run.go_on_from(checkpoint, run.rules_at(kept.round))
            except ValueError as error:
                self._keeper.refuse(run, kept, f"it does not fit: {error}")
                continue
            taken = time.strftime("%H:%M:%S", time.localtime(kept.created_at))
            where = f"goes on from round {run.iterations} (checkpoint of {taken})"
            break
        if run.state.final:
            return
        self.say(run, f"the coordinator came back; {where}")
        self._metrics.went_on(self._clock() - self._began)
        self._go_to_next(run)

    def _next_round(self, run: JobRun) -> None:
        """Of training, or of answers to queries."""
        assert run.training is not None
        self._change_what_is_due(run)
        run.prepare_round(next(self._transfer_ids), self._clock())
        self._dispatch(e.RoundReady(run.job_id, run.round, run.training.step, run.training_round))

    def _change_what_is_due(self, run: JobRun) -> None:
        if not (due := run.due_changes()):
            return
        before = run.in_force
        run.change(altered(before, map(as_alteration, due)))
        changes = differences(before, run.in_force)
        self._dispatch(changed(run.job_id, run.in_force, changes))
        for one in changes:
            self.say(run, f"{one.field}: {one.old} -> {one.new}, as it was to be from this round on")

    def prepare_again(self, run: JobRun) -> None:
        """The round that a job waits with has to follow what has changed since."""
        if run.waits:
            self._change_what_is_due(run)
            run.prepare_again(next(self._transfer_ids))

    def close_round(self, run: JobRun, workers: int) -> None:
        """Every shard is counted: update, and go on."""
        if run.heavy:
            self._in_background(run.job_id, self._close_heavy_round(run, workers))
        else:
            self._after_round(run, run.close_round(self._clock(), workers))

    async def _close_heavy_round(self, run: JobRun, workers: int) -> None:
        self._after_round(run, await asyncio.to_thread(run.close_round, self._clock(), workers))

    def _after_round(self, run: JobRun, completed: RoundCompleted | None) -> None:
        if run.state.final or run.training is None:
            return
        if completed is not None:
            self._note(run, completed)
            self._metrics.round_done(run.job_id, completed)
            if told := run.end_of_traffic(completed.seconds):
                self.say(run, told)
            self._count_step(run)
        if self.rollbacks.due(run):
            return
        if run.training.step is Step.QUERY:
            self.serving.round_over(run)
            return
        self._keeper.after_round(run)
        self._go_to_next(run)

    def _count_step(self, run: JobRun) -> None:
        if run.steps_left is None:
            return
        run.steps_left -= 1
        if not run.steps_left:
            self.hold(Hold.PERSON, run, run.paused_after_steps)
            run.count_steps(None)

    def _go_to_next(self, run: JobRun) -> None:
        assert run.training is not None
        if run.training.finished:
            self._in_background(run.job_id, self._store_model(run, run.training))
        else:
            self._next_round(run)

    # ---- the end

    async def _store_model(self, run: JobRun, training: Training) -> None:
        assert training.model is not None
        if training.serves:
            training.model = replace(
                training.model, metadata={**training.model.metadata, "job_id": run.job_id}
            )
        path, pause = self.models.new(run.job_id), FIRST_PAUSE_S
        while not run.state.final:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                await self.models.in_thread(self.models.write, training.model, path)
                await self.models.in_thread(self.models.share, path)
                break
            except OSError as error:  # a full disk may have room again; what was trained is not thrown away
                self.say(run, f"the model could not be written to {path}: {error}; trying again")
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_S)
        if run.state.final:  # cancelled while it was written
            path.unlink(missing_ok=True)
            return
        run.scores = {f"test_{name}": value for name, value in training.scores.items()}
        run.parameters_sha256 = training.model.parameters_sha256
        run.model_path = path
        if training.serves:
            self.serving.begin(run)
            self._keeper.after_round(run)
        else:
            self._dispatch(e.JobFinished(run.job_id, training.ended_because))

    def announce_state(self, run: JobRun, state: JobState, reason: str) -> None:
        """The job took a step; its numbers are as they stand."""
        reason = plain(reason)
        log.info("job %s is %s: %s", run.job_id, state, reason)
        if state.final:
            self._end(run, state, reason)
            return
        run.state, run.reason = state, reason
        if state is JobState.SERVING:
            run.settled.set()
            self.serving.serves(run)
        if not (state is JobState.PAUSED and run.holds):  # what held it is no matter after a restart
            self._keeping.put(ch.JobStepped(run.job_id, state, reason))
        if state is JobState.RUNNING:
            run.round_opened = self._clock()  # a round that waited begins now
        self._note(run, StateChanged(state, reason))

    def _end(self, run: JobRun, state: JobState, reason: str) -> None:
        """Nothing is done for the job any more; people are not told before a restart can't take it back."""
        run.ended = self._clock()
        going_on = run.view(run.ended)
        run.state, run.reason = state, reason
        run.settled.set()
        self.serving.end(run)
        ended = run.view(run.ended)
        self._ending[run.job_id] = ended
        run.ending = replace(going_on, reason=f"it is {state}, which is not durable yet ({reason})")
        self._keeping.put(ch.JobEnded(ended, str(run.model_path or ""), time.time()))
        self._in_background(run.job_id, self._after_end(run))

    async def _after_end(self, run: JobRun) -> None:
        """Once the end is durable, show it and remove the checkpoints: until then a restart goes on from them."""
        self._keeper.stop(run)
        said = ""
        while True:
            try:
                await self.acknowledge()
            except Unavailable as error:  # it has waited for a while
                if run.ending is not None and error.message != said:
                    said = error.message
                    self.say(run, f"{run.ending.reason}: {said}")
            except GradloomError as error:
                log.warning("job %s has ended, but may begin again after a restart: %s", run.job_id, error)
                return self._show_end(run.job_id)
            else:
                return await self._keeper.forget(run)

    def _show_end(self, job_id: str) -> None:
        if (ended := self._ending.pop(job_id, None)) is None:
            return
        run = self._records.runs[job_id]
        run.ending, run.final_view = None, ended
        self._note(run, StateChanged(ended.state, ended.reason))

    # ---- standing still

    def hold(self, hold: Hold, run: JobRun, trouble: str, resumed: str = "") -> None:
        """Have a job stand still because of a trouble; or let it go on, if there is none any more.

        ``resumed``: what is said of it then.
        """
        before = run.held_because
        if trouble:
            run.holds[hold] = trouble
        else:
            run.holds.pop(hold, None)
        why = run.held_because
        if run.state.final or why == before:
            return
        if not why:
            why = resumed or f"the {hold} can be written to again"
            self._dispatch(e.ResumeRequested(run.job_id, why))
        elif not before:
            self._dispatch(e.PauseRequested(run.job_id, why))
        elif run.state is JobState.PAUSED:
            run.reason = plain(why)
            self.say(run, f"paused, now because {why}")

    def _in_background(self, job_id: str, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - whatever it is, the job ends and says so
                self._break(job_id, error)

        task = asyncio.create_task(guarded())
        self._background.add(task)  # the event loop itself keeps only a weak reference
        task.add_done_callback(self._background.discard)
