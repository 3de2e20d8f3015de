"""The ``gradloom`` script as people run it: every command from end to end, and nothing left behind."""

import json
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import dump_svmlight_file, load_breast_cancer

from builders.shell import LIMIT_S, NOTHING, Shell, running_up
from gradloom.models import load_model

pytestmark = pytest.mark.system

PROMISED = {
    *("job_id", "algorithm", "state", "rounds", "loss", "scores", "seconds", "rows_per_second", "retries"),
    *("parameters_sha256", "model"),
}
ENDLESS = ["--set", "solver=gradient_descent", "--set", "max_rounds=100000", "--set", "tolerance=0"]


@pytest.fixture(scope="module")
def files(breast_cancer_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same rows in every format; npy and svmlight hold numbers for labels."""
    folder = tmp_path_factory.mktemp("files")
    bunch = load_breast_cancer()
    found = {kind: folder / f"cancer.{kind}" for kind in ("parquet", "npy", "svmlight")}
    pq.write_table(pc.read_csv(breast_cancer_csv), found["parquet"])
    np.save(found["npy"], np.column_stack([bunch.data, bunch.target]))
    dump_svmlight_file(bunch.data, bunch.target, str(found["svmlight"]), zero_based=False)
    return {**found, "csv": breast_cancer_csv}


@pytest.fixture(scope="module")
def model(up: dict[str, Any], files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that ``gradloom train`` wrote."""
    folder = tmp_path_factory.mktemp("model")
    train = ["train", "logistic", "--data", files["parquet"], "--target", "diagnosis", "--set", "l2=0.01"]
    Shell(folder).text(*train, "--cluster", up["address"], "--out", "model.safetensors")
    return folder / "model.safetensors"


# ---- training


def test_training_alone_ends_with_one_object_and_leaves_nothing(
    shell: Shell, files: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "model.safetensors"
    words = ["--data", files["csv"], "--target", "diagnosis", "--workers", "2", "--test-fraction", "0.2"]
    done = shell.run("train", "logistic", *words, "--out", out, "--json")
    assert done.status == 0, done.err
    (line,) = done.out.splitlines()
    said = json.loads(line)
    assert said.keys() >= PROMISED
    assert (said["algorithm"], said["state"], said["retries"]) == ("logistic", "completed", 0)
    assert said["scores"]["test_accuracy"] > 0.95
    assert said["rounds"] > 5
    assert said["loss"] < 0.1
    assert said["rows_per_second"] > 0
    assert said["parameters_sha256"] == load_model(out).parameters_sha256
    assert "converged" in done.err
    assert shell.left_behind() == NOTHING


@pytest.mark.parametrize(
    ("kinds", "target"), [(("parquet", "csv"), "diagnosis"), (("npy", "svmlight"), "30")], ids=str
)
def test_every_format_can_be_trained_on_and_the_same_rows_give_the_same_bits(
    shell: Shell, up: dict[str, Any], files: dict[str, Path], kinds: tuple[str, str], target: str
) -> None:
    hashes = set()
    for kind in kinds:
        own_target = [] if kind == "svmlight" else ["--target", target]
        words = ["--data", files[kind], *own_target, "--cluster", up["address"], "--test-fraction", "0.2"]
        said = shell.json("train", "logistic", *words, "--set", "l2=0.01")
        assert (said["state"], said["rows"]) == ("completed", 569)
        assert said["scores"]["test_roc_auc"] > 0.98
        hashes.add(said["parameters_sha256"])
    assert len(hashes) == 1


# ---- a running cluster


def test_a_detached_job_is_seen_by_every_command(
    shell: Shell, up: dict[str, Any], files: dict[str, Path]
) -> None:
    at = ["--cluster", up["address"]]
    job = shell.text(
        "train", "logistic", "--data", files["parquet"], "--target", "diagnosis", "--detach", *at
    ).strip()
    watched = shell.run("watch", job, *at)
    assert watched.status == 0
    assert "completed: converged" in watched.out
    assert shell.json("watch", job, *at).keys() >= PROMISED
    assert job in shell.text("jobs", *at)
    assert job in [each["job_id"] for each in shell.json("jobs", *at)]
    shown = shell.json("show", job, *at)
    assert (shown["job_id"], shown["state"]) == (job, "completed")
    assert shown["parameters_sha256"] in shell.text("show", job, *at)
    assert shown["parameters_sha256"] in shell.text("model", job, "--out", "a.safetensors", *at)
    assert shell.json("model", job, "--out", "b.safetensors", *at) == {
        "job_id": job,
        "model": "b.safetensors",
        "parameters_sha256": shown["parameters_sha256"],
    }
    a, b = (shell.folder / f"{name}.safetensors" for name in "ab")
    assert a.read_bytes() == b.read_bytes()
    assert load_model(a).parameters_sha256 == shown["parameters_sha256"]


def test_a_detached_job_is_told_as_json(shell: Shell, up: dict[str, Any], files: dict[str, Path]) -> None:
    words = ["--data", files["parquet"], "--target", "diagnosis", "--cluster", up["address"], "--detach"]
    said = shell.json("train", "logistic", *words)
    assert said["job_id"].startswith("logistic-")
    assert said["model"] is None


@pytest.mark.parametrize("as_json", [False, True])
def test_a_cancelled_job_stays_cancelled(
    shell: Shell, up: dict[str, Any], slow_data: Path, as_json: bool
) -> None:
    at = ["--cluster", up["address"]]
    words = ["train", "logistic", "--data", slow_data, "--target", "60", *ENDLESS, "--detach", *at]
    job = shell.json(*words)["job_id"]
    cancel = ["cancel", job, "--reason", "enough of it", *at]
    if as_json:
        assert shell.json(*cancel)["state"] == "cancelled"
    else:
        assert shell.text(*cancel) == f"job {job} is cancelled\n"
    watched = shell.run("watch", job, *at)
    assert watched.status == 5
    assert watched.err.splitlines()[-1] == f"error: job {job} cancelled: enough of it"
    assert shell.json("show", job, *at)["reason"] == "enough of it"


def test_workers_are_listed(shell: Shell, up: dict[str, Any]) -> None:
    at = ["--cluster", up["address"]]
    listed = shell.json("workers", *at)
    assert [worker["worker"] for worker in listed] == ["worker-0", "worker-1"]
    assert all(psutil.pid_exists(worker["pid"]) for worker in listed)
    table = shell.text("workers", *at)
    assert all(f"{worker['worker']} " in table for worker in listed)


def test_algorithms_are_described_by_a_cluster_and_without_one(shell: Shell, up: dict[str, Any]) -> None:
    at = ["--cluster", up["address"]]
    assert shell.json("algorithms", *at) == shell.json("algorithms")
    assert shell.text("algorithms", *at) == shell.text("algorithms")
    described = {each["name"]: each["settings"]["properties"] for each in shell.json("algorithms")}
    assert "l2" in described["logistic"]


# ---- a model file, without a cluster


def features(model: Path, table: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    columns = pq.read_table(table).select(list(load_model(model).features)).columns
    return np.column_stack([column.to_numpy() for column in columns])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_predictions_are_those_of_the_model(
    shell: Shell, files: dict[str, Path], model: Path, kind: str
) -> None:
    out = f"predictions.{kind}"
    said = shell.json("predict", model, "--data", files["parquet"], "--out", out)
    assert said == {"rows": 569, "out": out}
    written = (pc.read_csv if kind == "csv" else pq.read_table)(shell.folder / out)
    trained, X = load_model(model), features(model, files["parquet"])
    assert written.column_names == ["prediction", "proba_benign", "proba_malignant"]
    assert written["prediction"].to_pylist() == trained.predict(X).tolist()
    np.testing.assert_array_equal(written["proba_malignant"].to_numpy(), trained.predict_proba(X)[:, 1])
    assert f"569 predictions  {out}" in shell.text("predict", model, "--data", files["csv"], "--out", out)
    assert shell.left_behind() == ([out], [])


def test_scores_are_those_of_the_model(shell: Shell, files: dict[str, Path], model: Path) -> None:
    said = shell.json("evaluate", model, "--data", files["parquet"])
    truth = pq.read_table(files["parquet"])["diagnosis"].to_numpy()
    assert said["rows"] == 569
    assert said["scores"] == pytest.approx(load_model(model).scores(features(model, files["parquet"]), truth))
    assert f"accuracy   {said['scores']['accuracy']:.6g}\n" in shell.text(
        "evaluate", model, "--data", files["csv"]
    )


# ---- being told to end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_up_takes_everything_along_when_it_is_told_to_end(shell: Shell, number: signal.Signals) -> None:
    with running_up(shell, "--workers", "2") as (process, said):
        assert len(shell.processes()) == 4  # itself, a coordinator, two workers
        process.send_signal(number)
        _, complaints = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, complaints.splitlines()[-1]) == (0, "stopped")
    assert shell.left_behind() == NOTHING
    for address in (said["address"], said["metrics_address"]):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", int(address.rpartition(":")[2])))


def test_nothing_survives_when_up_is_killed(shell: Shell) -> None:
    with running_up(shell, "--workers", "2") as (process, _):
        family = shell.processes()
        process.kill()
        assert psutil.wait_procs(family, timeout=LIMIT_S)[1] == []
    assert shell.processes() == []


def test_an_interrupted_training_takes_its_cluster_along(shell: Shell, slow_data: Path) -> None:
    words = ["--data", slow_data, "--target", "60", "--workers", "2", "--out", "model.safetensors"]
    with shell.start("train", "logistic", *words, *ENDLESS) as process:
        assert process.stderr is not None
        assert any(line.startswith("round ") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert "interrupted: cancelling job logistic-" in complaints
    assert complaints.splitlines()[-1] == "error: interrupted"
    assert shell.left_behind() == NOTHING


def test_up_tells_people_where_it_is(shell: Shell) -> None:
    with shell.start("up", "--port", "0", "--workers", "1") as process:
        assert process.stdout is not None
        said = dict(process.stdout.readline().split() for _ in range(3))
        process.terminate()
        process.communicate(timeout=LIMIT_S)
    assert said["cluster"].startswith("127.0.0.1:")
    assert said["metrics"].startswith("http://127.0.0.1:")
    assert said["workers"] == "1"
