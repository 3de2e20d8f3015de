"""A handle of one job at a coordinator: look at it, follow it, steer it, fetch its model."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask

from gradloom.connection import Connection
from gradloom.errors import GradloomError, JobCancelled, JobFailed, Unavailable
from gradloom.jobs import JobEvent, JobState, JobView, StateChanged
from gradloom.specs import DataSpec, JobSpec, check_scheduling, setting_text
from gradloom.steered import replay_of
from gradloom.traces import JobTrace
from gradloom.v1 import job_service_pb2
from gradloom.wire import jobs as wire
from gradloom.wire.traces import trace_from_proto

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from gradloom.loggers import RunLogger
    from gradloom.models import Model
    from gradloom.nearest.answers import Answer, Neighbours, NeighboursWithin, Question

TRANSFER_TIMEOUT_S = 600.0


class Job:
    """A light handle of one job: each method asks the coordinator."""

    def __init__(self, connection: Connection, job_id: str) -> None:
        self._connection = connection
        self.id = job_id

    def __repr__(self) -> str:
        return f"Job({self.id!r} at {self._connection.address})"

    def _repr_html_(self) -> str:
        """How a notebook shows it: as it stands now."""
        from gradloom.reports.notebook import job_html, missing_html

        try:
            return job_html(self.view())
        except GradloomError as error:
            return missing_html(self.id, error.message)

    def view(self) -> JobView:
        """The job as it stands. Raises NotFound."""
        response: job_service_pb2.GetJobResponse = self._connection.call(
            self._connection.jobs.GetJob, job_service_pb2.GetJobRequest(job_id=self.id)
        )
        return wire.job_from_proto(response.job)

    def cancel(self, reason: str = "") -> JobView:
        """End the job; a cancelled one stays cancelled. Raises Conflict if it has completed or failed."""
        response: job_service_pb2.CancelJobResponse = self._connection.call(
            self._connection.jobs.CancelJob, job_service_pb2.CancelJobRequest(job_id=self.id, reason=reason)
        )
        return wire.job_from_proto(response.job)

    def update(
        self,
        *,
        placement: str | None = None,
        synchrony: str | None = None,
        codec: str | None = None,
        downlink: str | None = None,
        speculation: bool | None = None,
        share_weight: float | None = None,
        settings: Mapping[str, object] | None = None,
        etag: str = "",
    ) -> JobView:
        """Change a live job, from its next round on; None = as it is. It is durable when this returns.

        ``settings`` are those of the algorithm that may change while it trains, such as ``learning_rate``. With the
        ``etag`` of a view the change is refused if the job was changed after that view. Raises InvalidInput, Conflict
        if the job has ended, Outdated for an old etag, Unavailable if the change can't be kept now.
        """
        given = {
            "placement": placement,
            "synchrony": synchrony,
            "speculation": speculation,
            "share_weight": share_weight,
            "codec": codec,
            "downlink": downlink,
        }
        texts = {name: setting_text(name, value) for name, value in (settings or {}).items()}
        wanted = JobSpec(
            "",
            DataSpec(()),
            texts,
            placement=placement or "",
            synchrony=synchrony or "",
            speculation="off" if speculation is False else "on",
            share_weight=1.0 if share_weight is None else share_weight,
            codec=codec or "",
            downlink=downlink or "",
        )
        check_scheduling(wanted)
        paths = [name for name, value in given.items() if value is not None]
        request = job_service_pb2.UpdateJobRequest(
            job_id=self.id,
            spec=wire.job_spec_to_proto(wanted),
            update_mask=FieldMask(paths=[*paths, *(f"settings.{name}" for name in texts)]),
            etag=etag,
        )
        return self._asked(self._connection.jobs.UpdateJob, request)

    def pause(self, reason: str = "") -> JobView:
        """Have it stand still once its open round is over. Raises Conflict if it has ended, Unavailable."""
        request = job_service_pb2.PauseJobRequest(job_id=self.id, reason=reason)
        return self._asked(self._connection.jobs.PauseJob, request)

    def resume(self) -> JobView:
        """Let it go on. Raises as ``pause``."""
        return self._asked(self._connection.jobs.ResumeJob, job_service_pb2.ResumeJobRequest(job_id=self.id))

    def step(self, rounds: int = 1) -> JobView:
        """Let it do so many rounds of training, then stand still. Raises InvalidInput, and as ``pause``."""
        request = job_service_pb2.StepJobRequest(job_id=self.id, rounds=min(max(rounds, 0), 2**32 - 1))
        return self._asked(self._connection.jobs.StepJob, request)

    def rollback(self, round: int) -> JobView:  # noqa: A002 - the word that people look for
        """Set it back to its checkpoint of a round. Raises InvalidInput naming those there are, and as ``pause``."""
        request = job_service_pb2.RollbackJobRequest(job_id=self.id, round=max(round, 0))
        return self._asked(self._connection.jobs.RollbackJob, request)

    def note(self, text: str) -> None:
        """Add words of your own to its events. Raises InvalidInput, and as ``pause``."""
        request = job_service_pb2.AnnotateJobRequest(job_id=self.id, text=text)
        self._connection.call(self._connection.jobs.AnnotateJob, request)

    def replay(self) -> "Job":
        """Run it again as a new job: the same specification, and the same changes in the same rounds.

        So it comes to the same bits, if its synchrony lets any two runs do so. Raises as ``Client.submit``.
        """
        view = self.view()
        spec = replay_of(view)
        request = job_service_pb2.SubmitJobRequest(
            spec=wire.job_spec_to_proto(spec), client_token=uuid.uuid4().hex
        )
        response: job_service_pb2.SubmitJobResponse = self._connection.call(
            self._connection.jobs.SubmitJob, request
        )
        return Job(self._connection, response.job.job_id)

    def _asked(self, method: Callable[..., Any], request: object) -> JobView:
        return wire.job_from_proto(self._connection.call(method, request).job)

    def watch(self, after_sequence: int = 0, timeout_s: float | None = None) -> Iterator[JobEvent]:
        """The job's events in order, each once, as they happen; follows it to its end, or for ``timeout_s``.

        A broken stream is taken up again after the last event seen. Raises Unavailable when it stays broken for
        the client's ``timeout_s``, NotFound, and EventsGone if those events are no longer kept.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        return self._connection.events(self.id, after_sequence, deadline)

    def until_settled(self, timeout_s: float | None = None) -> Iterator[JobEvent]:
        """The job's events as ``watch`` has them, until it has ended or serves what was trained.

        Raises Unavailable if that is not so within ``timeout_s``.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        seen = 0
        while True:
            for event in self._connection.events(self.id, seen, deadline):
                seen = event.sequence
                yield event
                if isinstance(event.what, StateChanged) and event.what.state.settled:
                    break
            view = self.view()
            if view.state.settled:
                return
            # a coordinator that died may have shown an end that its successor does not know of
            if deadline is not None and time.monotonic() >= deadline:
                raise Unavailable(f"job {self.id} has not ended within {timeout_s:g} s; it is {view.state}")

    def wait(self, timeout_s: float | None = None) -> JobView:
        """Follow the job until it has ended or serves. Raises Unavailable if neither is so within ``timeout_s``."""
        for _ in self.until_settled(timeout_s):
            pass
        return self.view()

    def result(self, timeout_s: float | None = None) -> "Model":
        """The trained model, once the job has ended or serves; waits as ``wait`` does.

        Raises JobFailed or JobCancelled with the job's reason, else as ``model``.
        """
        raise_unless_completed(self.wait(timeout_s))
        return self.model()

    def model(self) -> "Model":
        """The model of a completed job; the download may take ten minutes.

        Raises Conflict if the job has none (yet), saying why, and ModelFileError if what came is no model.
        """
        from gradloom.models import model_from_bytes

        request = job_service_pb2.GetModelRequest(job_id=self.id)
        parts = self._connection.download(self._connection.jobs.GetModel, request, TRANSFER_TIMEOUT_S)
        return model_from_bytes(b"".join(part.chunk for part in parts))

    def history(self) -> list[JobEvent]:
        """The events that there are by now, the oldest first, as far as the coordinator keeps them."""
        request = job_service_pb2.WatchJobRequest(job_id=self.id, until_now=True)
        parts = self._connection.download(self._connection.jobs.WatchJob, request, TRANSFER_TIMEOUT_S)
        return [wire.event_from_proto(part.event) for part in parts]

    def trace(self) -> JobTrace:
        """Where its time went: totals, and its last rounds and tasks as far as the coordinator keeps them.

        Raises NotFound if nothing of it is kept.
        """
        request = job_service_pb2.GetTraceRequest(job_id=self.id)
        parts = self._connection.download(self._connection.jobs.GetTrace, request, TRANSFER_TIMEOUT_S)
        return trace_from_proto(parts)

    def plot(self) -> "Figure":
        """Loss, round time and worker load as a matplotlib figure, by now. Needs the extra ``plot``.

        Raises InvalidInput if that is missing, and as ``view``.
        """
        from gradloom.reports.gathering import gather
        from gradloom.reports.plotting import draw

        return draw(gather(self))

    def log_to(self, logger: "RunLogger", timeout_s: float | None = None) -> JobView:
        """Follow it as ``wait`` does, and tell a logger of ``gradloom.loggers`` all that happens, and its model."""
        from gradloom.loggers.run_logger import log_run

        return log_run(self, logger, timeout_s)

    def query(self, X: object, question: "Question | None" = None) -> "Answer":
        """What the job knows of rows X (n, d), on the columns of its data in the order of its features.

        Without a question the predictions are asked for. A completed job answers from its model at the coordinator; one
        that serves has its workers answer. Safe from several threads: queries that wait together are answered together.
        Raises InvalidInput, Conflict if the job has no answers (yet), Overloaded, Unavailable.
        """
        from gradloom.asking import ask
        from gradloom.nearest.answers import Question

        return ask(self._connection, self.id, question or Question(), X)

    def predict(self, X: object) -> "NDArray[Any]":
        """The value or the class of each row of X; shape (n,). Raises as ``query``."""
        from gradloom.nearest.answers import Predictions

        answer = self.query(X)
        assert isinstance(answer, Predictions)
        return answer.values

    def predict_proba(self, X: object) -> "NDArray[Any]":
        """Probability of each class, in the order of the model's classes; shape (n, K). Raises as ``query``."""
        from gradloom.nearest.answers import Ask, Probabilities, Question

        answer = self.query(X, Question(Ask.PROBABILITIES))
        assert isinstance(answer, Probabilities)
        return answer.values

    def kneighbors(self, X: object, n_neighbors: int | None = None) -> "Neighbours":
        """The nearest rows of each row of X, as many as the job was trained with if None. Raises as ``query``."""
        from gradloom.nearest.answers import Ask, Neighbours, Question

        answer = self.query(X, Question(Ask.NEIGHBORS, n_neighbors or 0))
        assert isinstance(answer, Neighbours)
        return answer

    def radius_neighbors(self, X: object, radius: float | None = None) -> "NeighboursWithin":
        """All rows within a radius of each row of X; None = the job's setting. Raises as ``query``."""
        from gradloom.nearest.answers import Ask, NeighboursWithin, Question

        answer = self.query(X, Question(Ask.WITHIN, radius=radius))
        assert isinstance(answer, NeighboursWithin)
        return answer


def raise_unless_completed(view: JobView) -> None:
    """Raise JobFailed or JobCancelled, with the job's reason, for a job that has ended without a model."""
    if view.state in (JobState.COMPLETED, JobState.SERVING):
        return
    kind = JobCancelled if view.state is JobState.CANCELLED else JobFailed
    raise kind(f"job {view.job_id} {view.state}: {view.reason or 'no reason was given'}")
