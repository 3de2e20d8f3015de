"""A job as an MLflow run: settings as params, rounds as metrics, steering as tags, the model as an artifact."""

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gradloom.errors import InvalidInput
from gradloom.extras import missing
from gradloom.jobs import JobEvent, JobState, JobView, RoundCompleted
from gradloom.loggers.run_logger import finite, metrics_of, parameters_of, sentence_of, steering_of

if TYPE_CHECKING:
    from mlflow.entities import Metric

    from gradloom.models import Model

MAX_METRICS = 500
"""In one call; MLflow takes a thousand."""
MAX_PAIRS = 100
"""Params or tags in one call."""
MAX_PARAM, MAX_TAG = 6000, 5000
FLUSH_EVERY_S = 2.0
MAX_NOTES = 100
"""Kept as tags."""
STATUS = {
    JobState.COMPLETED: "FINISHED",
    JobState.SERVING: "FINISHED",
    JobState.FAILED: "FAILED",
    JobState.CANCELLED: "KILLED",
}


class MlflowLogger:
    """Writes one job to an MLflow tracking server or store. Needs the extra ``mlflow``.

    ``tracking_uri``: empty = MLflow's own default (MLFLOW_TRACKING_URI). ``experiment`` is made if there is none.
    Metrics go out in batches, every two seconds. Nothing of MLflow's global state is touched. Raises InvalidInput for a
    store that can't be used.
    """

    def __init__(self, tracking_uri: str = "", experiment: str = "gradloom", run_name: str = "") -> None:
        try:
            from mlflow import MlflowClient, MlflowException
        except ImportError as error:
            raise missing("MlflowLogger", "mlflow", "mlflow") from error
        try:
            self._client = MlflowClient(tracking_uri or None)
        except (MlflowException, ImportError) as error:  # some stores need more than mlflow-skinny
            raise InvalidInput("tracking_uri", f"{tracking_uri!r} can't be used: {error}") from error
        self._experiment, self._run_name = experiment, run_name
        self.run_id = ""
        """Of the run in MLflow, once it has begun."""
        self._metrics: list[Metric] = []
        self._flushed_at = time.monotonic()
        self._notes = 0
        self._step = 0

    def begin(self, view: JobView) -> None:
        """Make the run, with its params."""
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(self._experiment)
        run = self._client.create_run(
            experiment,
            start_time=round(1000 * view.created_at),
            run_name=self._run_name or view.job_id,
            tags={"gradloom.job_id": view.job_id},
        )
        self.run_id = run.info.run_id
        self._put(params={name: text[:MAX_PARAM] for name, text in parameters_of(view).items() if text})

    def __call__(self, event: JobEvent) -> None:
        """A round becomes metrics, anything else a tag; of those only the first hundred."""
        if isinstance(event.what, RoundCompleted):
            self._step = event.what.round
            self._measure(metrics_of(event.what), event.at)
        elif self._notes < MAX_NOTES:
            self._notes += 1
            self._put(tags={f"event.{event.sequence:06d}": sentence_of(event)})

    def end(self, view: JobView, model: "Model | None") -> None:
        """Scores, steering, the model, and how it ended."""
        self._measure(finite(view.scores.items()), time.time())
        self._flush()
        fingerprint = {"gradloom.parameters_sha256": view.parameters_sha256} if view.parameters_sha256 else {}
        self._put(tags={**steering_of(view), **fingerprint, "gradloom.state": f"{view.state}: {view.reason}"})
        if model is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.safetensors"
                model.save(path)
                self._client.log_artifact(self.run_id, str(path))
        self._client.set_terminated(self.run_id, STATUS.get(view.state, "FAILED"))

    def close(self) -> None:
        """Send what is left; a run whose job was not followed to its end stays open."""
        if self.run_id:
            self._flush()

    def _measure(self, values: dict[str, float], at: float) -> None:
        from mlflow.entities import Metric

        now = time.monotonic()
        self._metrics += [Metric(name, value, round(1000 * at), self._step) for name, value in values.items()]
        if len(self._metrics) >= MAX_METRICS or now - self._flushed_at >= FLUSH_EVERY_S:
            self._flush()

    def _flush(self) -> None:
        waiting, self._metrics = self._metrics, []
        for start in range(0, len(waiting), MAX_METRICS):
            self._client.log_batch(self.run_id, metrics=waiting[start : start + MAX_METRICS])
        self._flushed_at = time.monotonic()

    def _put(self, params: dict[str, str] | None = None, tags: dict[str, str] | None = None) -> None:
        from mlflow.entities import Param, RunTag

        given = [Param(name, text) for name, text in (params or {}).items()]
        for start in range(0, len(given), MAX_PAIRS):
            self._client.log_batch(self.run_id, params=given[start : start + MAX_PAIRS])
        said = [RunTag(name, text[:MAX_TAG]) for name, text in (tags or {}).items()]
        for start in range(0, len(said), MAX_PAIRS):
            self._client.log_batch(self.run_id, tags=said[start : start + MAX_PAIRS])
