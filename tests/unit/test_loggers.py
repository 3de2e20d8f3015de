"""Jobs in MLflow and TensorBoard, written with the real libraries and read back with theirs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from builders.models import linear_model
from builders.runs import BEGAN, completed, view
from gradloom.errors import InvalidInput, Unavailable
from gradloom.jobs import JobEvent, JobState, JobView, Note, RetryReason, StateChanged, TaskRetried
from gradloom.loggers import MlflowLogger, TensorBoardLogger
from gradloom.loggers.run_logger import metrics_of, parameters_of, sentence_of, steering_of

MODEL = linear_model("logistic", ("a", "b"), "y", (0, 1), np.array([[1.0], [2.0]]), np.array([0.5]))


@pytest.fixture
def job(fake_cluster):
    """A job of three rounds that was steered, and has a model."""
    happened = [
        StateChanged(JobState.RUNNING, "go"),
        completed(1),
        completed(2),
        Note("a note"),
        completed(3),
    ]
    fake_cluster.add_job(view(), *happened, StateChanged(JobState.COMPLETED, "converged"))
    fake_cluster.model = MODEL.to_bytes()
    with fake_cluster.client() as client:
        yield client.job("job-1")


# ---- what every logger says


def test_a_rounds_numbers_leave_out_what_is_not_known() -> None:
    found = metrics_of(completed(2, loss=float("nan")))
    assert found == {
        "gradient_norm": 0.1,
        "learning_rate": 0.05,
        "round_seconds": 0.5,
        "rows_per_second": 1e4,
        "workers": 2.0,
    }


def test_parameters_are_those_that_were_submitted() -> None:
    found = parameters_of(view())
    assert found["algorithm"] == "logistic"
    assert found["settings.learning_rate"] == "0.05"
    assert found["data"] == "/data/train.parquet"


def test_steering_is_told_with_who_and_when() -> None:
    assert steering_of(view()) == {"steering.01": "round 2: settings.learning_rate 0.05 -> 0.01 by ann@host"}


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (StateChanged(JobState.RUNNING, ""), "running"),
        (StateChanged(JobState.FAILED, "why"), "failed: why"),
        (TaskRetried(RetryReason.CHECKSUM, "w", "4-7", 2, ""), "shards 4-7 of w again, try 2 (checksum)"),
        (Note("a note"), "a note"),
        (completed(1), ""),
    ],
)
def test_events_in_words(what, says) -> None:
    assert sentence_of(JobEvent(1, BEGAN, what)) == says


def test_a_logger_is_closed_even_if_following_is_broken_off(fake_cluster, make_job) -> None:
    said: list[str] = []

    class Broken:
        def begin(self, view: JobView) -> None:
            said.append("begin")

        def __call__(self, event: JobEvent) -> None:
            raise OSError("disk full")

        def end(self, view: JobView, model: object) -> None:
            said.append("end")

        def close(self) -> None:
            said.append("close")

    fake_cluster.add_job(make_job(JobState.RUNNING), completed(1))
    with fake_cluster.client() as client, pytest.raises(OSError, match="disk full"):
        client.job("job-1").log_to(Broken())
    assert said == ["begin", "close"]


def test_a_job_that_does_not_end_in_time_is_said_so(fake_cluster, make_job, tmp_path) -> None:
    fake_cluster.add_job(make_job(JobState.RUNNING), completed(1))
    with fake_cluster.client() as client, pytest.raises(Unavailable, match="has not ended"):
        client.job("job-1").log_to(TensorBoardLogger(tmp_path), timeout_s=0.2)


# ---- TensorBoard


def test_tensorboard_reads_what_was_written(job, tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    logger = TensorBoardLogger(tmp_path)
    assert job.log_to(logger).state is JobState.COMPLETED
    assert logger.path == tmp_path / "job-1"
    read = EventAccumulator(str(logger.path)).Reload()
    losses = read.Scalars("training/loss")
    assert [(e.step, pytest.approx(e.value)) for e in losses] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert losses[0].wall_time > 1.6e9
    assert [(e.step, e.value) for e in read.Scalars("scores/test_accuracy")] == [(3, 0.9375)]
    texts = {
        tag: [make_ndarray(e.tensor_proto).item().decode() for e in read.Tensors(tag)]
        for tag in read.Tags()["tensors"]
    }
    events = next(said for tag, said in texts.items() if tag.startswith("events"))
    assert events == ["running: go", "a note", "completed: converged"]
    assert (
        "| settings.learning_rate | 0.05 |"
        in next(s for t, s in texts.items() if t.startswith("settings"))[0]
    )
    assert "by ann@host" in next(s for t, s in texts.items() if t.startswith("steering"))[0]
    assert (logger.path / "model.safetensors").read_bytes() == MODEL.to_bytes()


def test_without_tensorboardx_the_extra_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        InvalidInput, match=r"TensorBoardLogger: needs tensorboardX, .*gradloom\[tensorboard\]"
    ):
        TensorBoardLogger(tmp_path)


# ---- MLflow, in a folder


@pytest.fixture
def store(monkeypatch, tmp_path: Path) -> str:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return (tmp_path / "mlruns").as_uri()


def test_mlflow_reads_what_was_written(job, store) -> None:
    from mlflow import MlflowClient

    logger = MlflowLogger(store, experiment="flights")
    assert job.log_to(logger).state is JobState.COMPLETED
    client = MlflowClient(store)
    run = client.get_run(logger.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "job-1"
    assert client.get_experiment(run.info.experiment_id).name == "flights"
    assert run.data.params["settings.learning_rate"] == "0.05"
    losses = client.get_metric_history(logger.run_id, "loss")
    assert [(m.step, pytest.approx(m.value)) for m in losses] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert run.data.metrics["test_accuracy"] == 0.9375
    tags = run.data.tags
    assert tags["steering.01"] == "round 2: settings.learning_rate 0.05 -> 0.01 by ann@host"
    assert [tags[name] for name in sorted(tags) if name.startswith("event.")] == [
        "running: go",
        "a note",
        "completed: converged",
    ]
    assert tags["gradloom.job_id"] == "job-1"
    (artifact,) = client.list_artifacts(logger.run_id)
    assert artifact.path == "model.safetensors"
    assert artifact.file_size == len(MODEL.to_bytes())


@pytest.mark.parametrize(("state", "status"), [(JobState.FAILED, "FAILED"), (JobState.CANCELLED, "KILLED")])
def test_how_a_job_ended_is_the_runs_status(fake_cluster, store, state, status) -> None:
    from mlflow import MlflowClient

    fake_cluster.add_job(view(state, "why"), completed(1), StateChanged(state, "why"))
    logger = MlflowLogger(store)
    with fake_cluster.client() as client:
        client.job("job-1").log_to(logger)
    run = MlflowClient(store).get_run(logger.run_id)
    assert run.info.status == status
    assert run.data.tags["gradloom.state"] == f"{state}: why"


def test_two_runs_share_an_experiment(job, store) -> None:
    from mlflow import MlflowClient

    for _ in range(2):
        job.log_to(MlflowLogger(store))
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("gradloom")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_a_store_that_can_not_be_used_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"tracking_uri: 'nonsense://x' can't be used"):
        MlflowLogger("nonsense://x")


def test_without_mlflow_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InvalidInput, match=r"MlflowLogger: needs mlflow, .*gradloom\[mlflow\]"):
        MlflowLogger()


def test_the_loggers_import_none_of_the_libraries() -> None:
    code = (
        "import sys, gradloom.loggers\nassert not {'mlflow', 'tensorboardX', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
