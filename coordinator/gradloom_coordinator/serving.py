"""Answers queries: from the model of a job that has completed, or by its workers while it serves.

A job that serves has no round open as long as nobody asks. The first query opens one; those that come meanwhile wait,
and the next round takes all of them together. A worker that is lost costs its tasks of the round and nothing else: the
scheduler has them computed again, and the answer is the same. Queries live in memory alone: after a restart of the
coordinator the job comes back serving, and clients ask again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms.serving import Posed, check_rows, serving_part
from gradloom.errors import Conflict, InvalidInput, NotFound, NotInTime, Overloaded
from gradloom.jobs import JobState
from gradloom.models import Model, Neighbors, load_model
from gradloom.nearest.answers import Answer, Question, joined_answers
from gradloom.queries import answer_of
from gradloom.steps import Step
from gradloom.tensors import byte_length
from gradloom_coordinator.desk import MAX_WAITING_ROWS, Desk, Waiting
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling import events as e

Rows = NDArray[np.float64]
T = TypeVar("T")

MODELS_AT_HAND = 16
MODEL_BYTES_AT_HAND = 512 * 1024 * 1024
MODEL_THREADS = 2
"""Answer from models: beside the event loop, and never more of the machine than that."""
MODEL_QUERY_BYTES = 256 * 1024 * 1024
"""Of the rows that wait for answers from models; those that a thread is busy with while nobody waits come on top."""
MAX_QUERY_ROWS = MAX_WAITING_ROWS
"""Of one query; a larger table is asked about in parts, as ``Job.query`` does."""


class Serving:
    """The queries of all jobs of one coordinator."""

    def __init__(
        self,
        dispatch: Callable[[e.Event], None],
        open_round: Callable[[JobRun], None],
        load: Callable[[Path], Model] = load_model,
    ) -> None:
        self._dispatch = dispatch
        self._open_round = open_round
        self._desks: dict[e.JobId, Desk] = {}
        self._shelf = ModelShelf(load)

    async def query(self, run: JobRun, question: Question, X: Rows, limit_s: float) -> Answer:
        """The answer for rows (n, d) on raw columns.

        Raises InvalidInput, Conflict if the job has none (yet), Overloaded, and NotInTime after ``limit_s``.
        """
        if len(X) > MAX_QUERY_ROWS:
            raise InvalidInput("X", f"has {len(X)} rows; one query may have {MAX_QUERY_ROWS}: ask in parts")
        try:
            return await asyncio.wait_for(self._answer(run, question, X), limit_s)
        except TimeoutError:
            raise NotInTime(
                f"no answer within {limit_s:g} s: job {run.job_id} is {run.state}{self._why(run)}"
            ) from None

    def _why(self, run: JobRun) -> str:
        desk = self._desks.get(run.job_id)
        if desk is None or run.state is not JobState.SERVING:
            return f" ({run.reason})"
        return f", {desk.rows} rows of queries wait" + (", a round of answers is open" if desk.asked else "")

    async def _answer(self, run: JobRun, question: Question, X: Rows) -> Answer:
        if run.served and not run.state.settled:
            await run.settled.wait()  # it served before the coordinator was started again, and will
        if run.state is JobState.SERVING:
            return await self._ask_workers(run, question, X)
        if run.model_path is None or run.state is not JobState.COMPLETED:
            raise Conflict(
                f"job {run.job_id} is {run.state} ({run.reason}): it can be asked once it has completed"
            )
        return await self._shelf.answer(run.job_id, run.model_path, question, X)

    async def _ask_workers(self, run: JobRun, question: Question, X: Rows) -> Answer:
        training = run.training
        assert training is not None
        assert training.schema is not None
        algorithm, desk = serving_part(training.algorithm), self._desks[run.job_id]
        check_rows(X, training.schema.features)
        algorithm.check_question(training.schema, question, len(X))
        step = algorithm.tile_rows(question)
        loop = asyncio.get_running_loop()
        parts = [
            Waiting(Posed(question, X[a : a + step]), loop.create_future())
            for a in range(0, max(1, len(X)), step)
        ]
        desk.put(parts)
        self._go_on(run, desk)
        try:
            return joined_answers(await asyncio.gather(*(part.answer for part in parts)))
        finally:
            for part in parts:
                part.answer.cancel()

    # ---- rounds

    def begin(self, run: JobRun) -> None:
        """The model is stored: from here on workers answer."""
        assert run.training is not None
        run.training.step = Step.QUERY
        self._desks[run.job_id] = Desk()
        self._dispatch(
            e.JobServes(run.job_id, f"{run.training.ended_because}; cancel it when it is not needed any more")
        )

    def round_over(self, run: JobRun) -> None:
        """A round of answers is merged: hand them out, and take on who waits."""
        desk = self._desks.get(run.job_id)
        if desk is None or run.training is None:
            return
        desk.settle(run.training.answers)
        run.training.posed = run.training.answers = ()
        self._go_on(run, desk)

    def _go_on(self, run: JobRun, desk: Desk) -> None:
        if desk.asked or run.training is None or run.state is not JobState.SERVING:
            return
        algorithm = serving_part(run.training.algorithm)
        desk.busy()
        if tile := desk.next_tile(algorithm):
            run.training.posed = tile
            self._open_round(run)
        elif algorithm.idle_limit_s is not None:
            self._end_if_idle(run, desk, algorithm.idle_limit_s)

    def _end_if_idle(self, run: JobRun, desk: Desk, limit_s: float) -> None:
        idle = e.CancelRequested(run.job_id, f"nobody has asked for {limit_s:g} s")
        desk.closes = asyncio.get_running_loop().call_later(limit_s, self._dispatch, idle)

    def serves(self, run: JobRun) -> None:
        """The job serves from here on."""
        self._go_on(run, self._desks[run.job_id])

    def end(self, run: JobRun) -> None:
        """The job has ended: nobody waits for it any more."""
        if desk := self._desks.pop(run.job_id, None):
            desk.refuse(Conflict(f"job {run.job_id} is {run.state}: {run.reason}"))

    def forget(self, job: e.JobId) -> None:
        """Nothing of the job is kept any longer."""
        self._shelf.forget(job)


class ModelShelf:
    """The models that were asked last, ready to answer; one thread pool answers from all of them.

    ``load`` reads one, in a thread.
    """

    def __init__(self, load: Callable[[Path], Model] = load_model) -> None:
        self._read = load
        self._models: OrderedDict[e.JobId, asyncio.Future[Model]] = OrderedDict()
        self._threads = ThreadPoolExecutor(MODEL_THREADS, thread_name_prefix="answers")
        self._waiting_bytes = 0

    async def answer(self, job: e.JobId, path: Path, question: Question, X: Rows) -> Answer:
        """What a job's model says. Raises InvalidInput, Overloaded, NotFound, ModelFileError."""
        if self._waiting_bytes and self._waiting_bytes + X.nbytes > MODEL_QUERY_BYTES:
            raise Overloaded(
                f"{self._waiting_bytes} bytes of rows wait for answers from models already; at most"
                f" {MODEL_QUERY_BYTES} may: try again"
            )
        self._waiting_bytes += X.nbytes
        try:
            model = await self.model(job, path)
            if isinstance(model, Neighbors):
                model.check_size(question, len(X))
            return await self.in_thread(partial(answer_of, model, question, X))
        finally:
            self._waiting_bytes -= X.nbytes

    async def model(self, job: e.JobId, path: Path) -> Model:
        """A job's model, read from its file once. Raises NotFound, ModelFileError."""
        loading = self._models.get(job)
        if loading is None:
            loading = self._models[job] = asyncio.ensure_future(self.in_thread(partial(self._load, path)))
            loading.add_done_callback(partial(self._loaded, job))
        model = await asyncio.shield(loading)
        if job in self._models:
            self._models.move_to_end(job)
        self._make_room()
        return model

    def _load(self, path: Path) -> Model:
        try:
            return self._read(path)
        except OSError as error:
            raise NotFound(f"the model file {path.name} can't be brought here: {error}") from error

    def _loaded(self, job: e.JobId, loading: "asyncio.Future[Model]") -> None:
        """A model that can't be read is tried again by whoever asks next, whether or not somebody still waits."""
        if _failed(loading) and self._models.get(job) is loading:
            del self._models[job]

    def _make_room(self) -> None:
        """Put away the models that were asked longest ago, but for the last one."""
        sizes = {
            job: byte_length(one.result().arrays)
            for job, one in self._models.items()
            if one.done() and not _failed(one)  # nobody may have waited for it to the end
        }
        while len(sizes) > 1 and (len(sizes) > MODELS_AT_HAND or sum(sizes.values()) > MODEL_BYTES_AT_HAND):
            oldest = next(iter(sizes))
            del sizes[oldest], self._models[oldest]

    def forget(self, job: e.JobId) -> None:
        """The job's record is gone."""
        self._models.pop(job, None)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run something beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _failed(loading: "asyncio.Future[Model]") -> bool:
    return loading.done() and (loading.cancelled() or loading.exception() is not None)
