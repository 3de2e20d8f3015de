"""The ``gradloom`` command as people and scripts meet it: words in, words and an exit status out."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from typer.main import get_command

from builders.models import linear_model
from gradloom import local
from gradloom.cli import main, training
from gradloom.cli.app import app
from gradloom.cli.live import Curve, LiveScreen
from gradloom.cli.panels import PANELS
from gradloom.cli.progress import LineScreen, follow
from gradloom.cli.views import seconds_text
from gradloom.errors import GradloomError, Unavailable
from gradloom.jobs import (
    Compression,
    JobEvent,
    JobState,
    Note,
    RetryReason,
    RoundCompleted,
    StateChanged,
    TaskRetried,
)
from gradloom.models import load_model

COMMANDS = [
    *("up", "train", "jobs", "show", "watch", "cancel", "set"),
    *("workers", "chaos", "model", "predict", "evaluate", "simulate", "algorithms"),
]


@pytest.fixture
def run(capfd, monkeypatch):
    """Run one command line in this process; returns its exit status, stdout and stderr."""
    monkeypatch.delenv("GRADLOOM_CLUSTER", raising=False)
    monkeypatch.delenv("GRADLOOM_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def command(*words):
        status = main([str(word) for word in words])
        said = capfd.readouterr()
        return status, said.out, said.err

    return command


@pytest.fixture
def no_processes(monkeypatch):
    """Nothing may be started."""

    def start(cluster):
        raise AssertionError("a process was about to be started")

    monkeypatch.setattr(local.LocalCluster, "start", start)


@pytest.fixture
def own_cluster(fake_cluster, monkeypatch):
    """A cluster of one's own is the fake one; returns what became of it."""
    story = []

    def start(cluster):
        story.append("started")
        return cluster

    monkeypatch.setattr(local.LocalCluster, "start", start)
    monkeypatch.setattr(local.LocalCluster, "close", lambda cluster: story.append("closed"))
    monkeypatch.setattr(local.LocalCluster, "client", lambda cluster: fake_cluster.client())
    return story


@pytest.fixture
def table(tmp_path):
    """Breast cancer with named classes, as Parquet."""
    data = load_breast_cancer()
    columns = {name.replace(" ", "_"): data.data[:, j] for j, name in enumerate(data.feature_names)}
    path = tmp_path / "cancer.parquet"
    pq.write_table(pa.table({**columns, "kind": data.target_names[data.target]}), path)
    return path


@pytest.fixture
def classifier():
    """A rule on one column of the table: a large radius is malignant."""
    coefficients, intercept = np.array([-1.0]), np.array(15.0)
    return linear_model(
        "logistic", ("mean_radius",), "kind", ("benign", "malignant"), -coefficients, -intercept
    )


# ---- the command as a whole


def test_help_names_every_command_and_exit_status(run):
    status, out, _ = run("--help")
    assert status == 0
    for word in [*COMMANDS, "Exit status", "130 interrupted"]:
        assert word in " ".join(out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert "--json" in out


def test_help_lists_every_command_under_its_heading(run):
    listed = [name for names in PANELS.values() for name in names]
    assert sorted(get_command(app).commands) == sorted(listed)
    _, out, _ = run("--help")
    places = [out.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    assert "─ Commands ─" not in out


@pytest.mark.parametrize("words", [(), ("token",), ("certs",)], ids=str)
def test_a_group_without_a_command_shows_its_help_and_nothing_else(run, words):
    status, out, err = run(*words)
    assert status == 2
    assert "Usage: gradloom" in out + err
    assert "error:" not in err


@pytest.mark.parametrize("module", ["gradloom_coordinator", "gradloom_worker", "gradloom_dashboard"])
def test_the_services_help_is_plain_and_has_a_short_option(module):
    command = [sys.executable, "-m", module, "-h"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    name = "gradloom dashboard" if module == "gradloom_dashboard" else f"python -m {module}"
    assert said.startswith(f"Usage: {name} [OPTIONS]\n")
    assert "╭" not in said


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from gradloom.cli import main; main(['--help']);"
        "heavy = {'numpy', 'pyarrow', 'grpc', 'pydantic', 'google.protobuf'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=60)


def test_the_version_is_told(run):
    status, out, _ = run("--version")
    assert status == 0
    assert out.startswith("gradloom 0")


# ---- what is refused before anything is started


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["logistik"], "algorithm: 'logistik' is not known"),
        (["logistic", "--set", "l3=1"], "setting: 'l3' is not known"),
        (["logistic", "--set", "l2=-1"], "l2: '-1' is not allowed"),
        (["logistic", "--set", "l2"], "--set: 'l2' is not allowed; write NAME=VALUE"),
        (["logistic", "--set", "l2=1", "--set", "l2=2"], "--set: 'l2' is given twice"),
        (["logistic", "--test-fraction", "1.5"], "test_fraction: 1.5 is not allowed"),
        (["logistic", "--seed", "-1"], "seed: -1 is not allowed"),
        (["logistic", "--workers", "0"], "workers: 0 is not allowed; it must lie in [1, 64]"),
        (["logistic", "--workers", "2", "--cluster", "host:1"], "workers: 2 sizes a cluster of your own"),
        (["logistic", "--detach"], "detach: needs --cluster"),
        (["logistic", "--detach", "--cluster", "host:1", "--out", "m"], "out: there is no model yet"),
        (["logistic", "--out", "/no/such/folder/model"], "out: the folder /no/such/folder does not exist"),
        (["logistic", "--out", "."], "out: . is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence_and_status_2(run, no_processes, table, words, sentence):
    status, out, err = run("train", *words, "--data", table, "--target", "kind")
    assert status == 2
    assert out == ""
    assert err.startswith(f"error: {sentence}")
    assert "Traceback" not in err


def test_files_that_are_not_there_are_named(run, no_processes, tmp_path):
    status, _, err = run("train", "logistic", "--data", tmp_path / "gone.csv", "--target", "y")
    assert status == 2
    assert "gone.csv" in err


def test_with_json_the_refusal_is_an_object_too(run, no_processes, table):
    status, out, err = run("train", "logistic", "--data", table, "--test-fraction", "2", "--json")
    assert status == 2
    error = json.loads(out)["error"]
    assert (error["kind"], error["field"]) == ("InvalidInput", "test_fraction")
    assert err.strip() == f"error: {error['message']}"


@pytest.mark.parametrize(
    "words", [["train"], ["train", "logistic"], ["jobs", "--wat"], ["fly"], ["up", "--port", "x"]]
)
def test_usage_errors_are_status_2_and_json_when_asked(run, words):
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert "--help" in err
    status, out, _ = run(*words, "--json")
    assert status == 2
    assert json.loads(out)["error"]["kind"] == "UsageError"


def test_a_traceback_is_shown_to_those_who_ask(run, no_processes, monkeypatch):
    monkeypatch.setenv("GRADLOOM_DEBUG", "1")
    status, _, err = run("train", "logistic", "--data", "", "--target", "y")
    assert status == 2
    assert "Traceback" in err
    assert err.rstrip().endswith("error: data: at least one file, glob or folder is needed")


# ---- training


def test_training_on_a_running_cluster_ends_with_the_result(
    run, fake_cluster, make_job, classifier, tmp_path
):
    fake_cluster.outcome = make_job(JobState.COMPLETED, "converged")
    fake_cluster.model = classifier.to_bytes()
    out_file = tmp_path / "model.safetensors"
    words = ["--cluster", fake_cluster.address, "--data", "s3://bucket/a.csv", "--target", "y"]
    words += ["--features", "a, b", "--set", "l2=0.5", "--out", out_file]
    status, out, err = run("train", "logistic", *words)
    assert status == 0
    for expected in (
        "job-1",
        "completed: converged",
        "accuracy",
        "0.9375",
        "worker-1",
        "50 %",
        "left",
        str(out_file),
    ):
        assert expected in out
    assert "round 1/20  loss 0.5" in err
    assert load_model(out_file).parameters_sha256 == classifier.parameters_sha256
    sent = fake_cluster.submitted[0].spec
    assert (list(sent.data.features), dict(sent.settings)) == (["a", "b"], {"l2": "0.5"})


def test_json_of_training_is_one_object_on_the_last_line(run, fake_cluster, make_job):
    fake_cluster.outcome = make_job(JobState.COMPLETED)
    status, out, _ = run(
        "train", "linear", "--cluster", fake_cluster.address, "--data", "s3://b/a.csv", "--json"
    )
    assert status == 0
    assert len(out.splitlines()) == 1
    result = json.loads(out)
    assert result == {
        **result,
        "job_id": "job-1",
        "algorithm": "linear",
        "state": "completed",
        "rounds": 12,
        "loss": 0.25,
        "scores": {"accuracy": 0.9375},
        "seconds": 1.5,
        "rows_per_second": 1e6,
        "retries": 1,
        "parameters_sha256": "ab" * 32,
        "model": None,
    }
    assert [worker["worker"] for worker in result["workers"]] == ["worker-0", "worker-1"]


def test_the_cluster_can_come_from_the_environment(run, fake_cluster, make_job, monkeypatch):
    monkeypatch.setenv("GRADLOOM_CLUSTER", fake_cluster.address)
    fake_cluster.add_job(make_job())
    assert run("show", "job-1")[0] == 0


def test_detached_training_only_says_the_job(run, fake_cluster):
    words = ["--cluster", fake_cluster.address, "--data", "s3://b/a.csv", "--detach"]
    status, out, err = run("train", "linear", *words)
    assert (status, out) == (0, "job-1\n")
    assert f"gradloom watch job-1 --cluster {fake_cluster.address}" in err
    assert fake_cluster.watched_after == []
    status, out, _ = run("train", "linear", *words, "--json")
    assert json.loads(out)["state"] == "running"


def test_a_cluster_of_ones_own_lives_as_long_as_the_job(run, fake_cluster, own_cluster, make_job, table):
    fake_cluster.outcome = make_job(JobState.COMPLETED)
    status, out, err = run("train", "logistic", "--data", table, "--target", "kind", "--workers", "2")
    assert status == 0
    assert own_cluster == ["started", "closed"]
    assert "cluster of 2 workers" in err
    assert "accuracy" in out


@pytest.mark.parametrize(("state", "status"), [(JobState.FAILED, 1), (JobState.CANCELLED, 5)], ids=str)
@pytest.mark.parametrize("command", ["train", "watch"])
def test_how_a_job_ended_is_the_exit_status(run, fake_cluster, make_job, command, state, status):
    reason = "shard 3: column 'age': row 17 has no value"
    fake_cluster.outcome = make_job(state, reason)
    fake_cluster.add_job(make_job(state, reason), StateChanged(state, reason))
    what = {"train": ["linear", "--data", "s3://b/a.csv"], "watch": ["job-1"]}[command]
    got, out, err = run(command, *what, "--cluster", fake_cluster.address, "--json")
    assert got == status
    assert reason in err
    assert reason in json.loads(out)["error"]["message"]


def interrupt(*_):
    raise KeyboardInterrupt


def test_interrupting_leaves_the_job_to_a_running_cluster(run, fake_cluster, monkeypatch):
    monkeypatch.setattr(training, "follow", interrupt)
    status, _, err = run("train", "linear", "--cluster", fake_cluster.address, "--data", "s3://b/a.csv")
    assert status == 130
    assert f"gradloom watch job-1 --cluster {fake_cluster.address}" in err
    assert f"gradloom cancel job-1 --cluster {fake_cluster.address}" in err
    assert fake_cluster.cancelled == []


def test_interrupting_cancels_the_job_of_ones_own_cluster(run, fake_cluster, own_cluster, table, monkeypatch):
    monkeypatch.setattr(training, "follow", interrupt)
    status, out, err = run("train", "logistic", "--data", table, "--target", "kind", "--json")
    assert status == 130
    assert own_cluster == ["started", "closed"]
    assert fake_cluster.cancelled == [("job-1", "interrupted by the user")]
    assert json.loads(out)["error"]["kind"] == "KeyboardInterrupt"
    assert "cancelling job job-1" in err


def test_the_end_of_ones_own_coordinator_ends_the_command_at_once(run, own_cluster, table, monkeypatch):
    monkeypatch.setattr(local.LocalCluster, "wait_for_end", lambda cluster: "coordinator")
    monkeypatch.setattr(local.LocalCluster, "last_words", lambda cluster, name: "killed for memory")
    dead = subprocess.CompletedProcess([], -9)
    dead.poll = lambda: -9
    monkeypatch.setattr(local.LocalCluster, "coordinator", dead)
    status, _, err = run("train", "logistic", "--data", table, "--target", "kind")
    assert status == 3
    assert err.endswith("error: the coordinator ended with status -9: killed for memory\n")
    assert own_cluster == ["started", "closed"]


def test_a_cluster_that_does_not_start_is_status_3(run, table, monkeypatch):
    def start(cluster):
        raise Unavailable("coordinator did not start: port 1 is taken")

    monkeypatch.setattr(local.LocalCluster, "start", start)
    status, _, err = run("train", "logistic", "--data", table, "--target", "kind")
    assert status == 3
    assert "error: coordinator did not start: port 1 is taken" in err


# ---- asking a cluster


def test_jobs_and_workers_are_tables_or_lists(run, fake_cluster, make_job, make_worker):
    fake_cluster.add_job(make_job(JobState.FAILED, "ended [badly]"))
    fake_cluster.workers = [make_worker()]
    at = ["--cluster", fake_cluster.address]
    assert "ended [badly]" in run("jobs", *at)[1]
    assert json.loads(run("jobs", *at, "--json")[1])[0]["job_id"] == "job-1"
    assert "8.0 GiB" in run("workers", *at)[1]
    assert json.loads(run("workers", *at, "--json")[1])[0]["pid"] == 42
    assert "/data/train.parquet" in run("show", "job-1", *at)[1]
    assert json.loads(run("show", "job-1", *at, "--json")[1])["spec"]["data"]["target"] == "late"


def test_numbers_that_json_has_no_words_for_are_null(run, fake_cluster, make_job):
    from dataclasses import replace

    fake_cluster.add_job(replace(make_job(), loss=float("inf"), scores={"r2": float("nan")}))
    out = run("show", "job-1", "--cluster", fake_cluster.address, "--json")[1]
    assert (json.loads(out)["loss"], json.loads(out)["scores"]) == (None, {"r2": None})


def test_cancel_and_model(run, fake_cluster, make_job, classifier, tmp_path):
    fake_cluster.add_job(make_job(JobState.RUNNING))
    fake_cluster.model = classifier.to_bytes()
    at = ["--cluster", fake_cluster.address]
    status, out, _ = run("cancel", "job-1", "--reason", "wrong data", *at)
    assert (status, out) == (0, "job job-1 is cancelled\n")
    assert fake_cluster.cancelled == [("job-1", "wrong data")]
    status, out, _ = run("model", "job-1", "--out", tmp_path / "m", *at)
    assert status == 0
    assert classifier.parameters_sha256 in out
    assert load_model(tmp_path / "m").features == ("mean_radius",)


def test_set_changes_what_is_named_and_shows_the_job(run, fake_cluster, make_job):
    fake_cluster.add_job(make_job(JobState.RUNNING))
    at = ["--cluster", fake_cluster.address]
    status, out, _ = run("set", "job-1", "synchrony=bounded:3", "share_weight=2.5", "speculation=off", *at)
    assert status == 0
    shown = " ".join(out.split())
    for line in (
        "synchrony bounded:3",
        "share weight 2.5",
        "speculation off",
        "placement the cluster's default",
    ):
        assert line in shown
    assert run("show", "job-1", *at)[1] == out
    assert list(fake_cluster.updated[0].update_mask.paths) == ["synchrony", "speculation", "share_weight"]
    status, out, _ = run("set", "job-1", "placement=random", "--json", *at)
    assert (status, json.loads(out)["spec"]["placement"]) == (0, "random")
    out = run("set", "job-1", "codec=topk:0.05", "downlink=int8", *at)[1]
    assert "codec topk:0.05 downlink int8" in " ".join(out.split())
    assert list(fake_cluster.updated[-1].update_mask.paths) == ["codec", "downlink"]


def test_show_says_what_codecs_have_saved(run, fake_cluster, make_job):
    ledger = Compression("topk:0.01", "int8", "slow", 4_000_000, 40_000, 8000, 8000, 1.5, 0.25, 0.5, 7.0, 2)
    fake_cluster.add_job(replace(make_job(JobState.RUNNING), compression=ledger))
    shown = " ".join(run("show", "job-1", "--cluster", fake_cluster.address)[1].split())
    for line in (
        "sent up 0.04 MB instead of 4 MB (100 x, topk:0.01 now)",
        "sent down 0.008 MB",
        "codec picked topk:0.01: slow",
        "codec time 1.5 s to encode, 0.25 s to decode",
        "codec error 0.5 of the gradient, residual 7",
        "residuals lost 2 times, with a worker",
    ):
        assert line in shown


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["placement"], "write NAME=VALUE, e.g. gradloom set JOB synchrony=bounded:3"),
        (["speculation=maybe"], "speculation: 'maybe' is not allowed; it must be on or off"),
        (["share_weight=much"], "share_weight: 'much' is not allowed; it must be a number"),
        (["share_weight=0"], "share_weight: 0.0 is not allowed"),
        (["codec=zip"], "codec: 'zip' is not allowed: it must be none"),
        (["downlink=auto"], "downlink: 'auto' is not allowed"),
        ([], "NAME=VALUE"),
    ],
)
def test_what_set_can_t_set_is_status_2(run, fake_cluster, make_job, words, refusal):
    fake_cluster.add_job(make_job(JobState.RUNNING))
    status, _, err = run("set", "job-1", *words, "--cluster", fake_cluster.address)
    assert status == 2
    assert refusal in err
    assert fake_cluster.updated == []


def test_unknown_jobs_are_status_4(run, fake_cluster):
    for words in (
        ["show", "job-9"],
        ["watch", "job-9"],
        ["cancel", "job-9"],
        ["set", "job-9", "placement=random"],
    ):
        status, _, err = run(*words, "--cluster", fake_cluster.address)
        assert (status, err) == (4, "error: there is no job 'job-9'\n")


def test_a_cluster_that_is_away_is_status_3(run):
    status, out, err = run("jobs", "--cluster", "127.0.0.1:1", "--json")
    assert status == 3
    assert "error: the cluster at 127.0.0.1:1 can't be reached" in err
    assert json.loads(out)["error"]["kind"] == "Unavailable"


def test_algorithms_are_described_without_a_cluster(run):
    status, out, _ = run("algorithms")
    assert status == 0
    for word in ("linear", "logistic", "multinomial", "l2", "tolerance"):
        assert word in out
    described = json.loads(run("algorithms", "--json")[1])
    assert {one["name"] for one in described} >= {"linear", "logistic", "multinomial"}
    linear = next(one for one in described if one["name"] == "linear")
    assert "l2" in linear["settings"]["properties"]


# ---- up


class StandInCluster:
    """What ``up`` sees of a cluster whose children end in a given order."""

    address, metrics_address, workers, data_dir = "h:1", "h:2", (1, 2), "/data"

    def __init__(self, *ends):
        self.ends = list(ends)
        self.closed = False
        self.coordinator = subprocess.CompletedProcess([], -9)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def wait_for_end(self):
        if not self.ends:
            raise KeyboardInterrupt
        return self.ends.pop(0)

    def last_words(self, name):
        return f"{name} says farewell"


def test_up_says_where_it_is_and_ends_well_when_interrupted(capfd):
    from gradloom.cli import serving

    cluster = StandInCluster("worker-1")
    serving.up(cluster, as_json=False)
    said = capfd.readouterr()
    assert "cluster  h:1" in said.out
    assert "worker-1 ended; the others go on. Its last words: worker-1 says farewell" in said.err
    assert said.err.endswith("stopped\n")
    assert cluster.closed


def test_up_fails_when_the_coordinator_ends(capfd):
    from gradloom.cli import serving

    cluster = StandInCluster("coordinator")
    with pytest.raises(GradloomError, match="status -9: coordinator says farewell"):
        serving.up(cluster, as_json=True)
    assert json.loads(capfd.readouterr().out)["address"] == "h:1"
    assert cluster.closed


# ---- predict and evaluate


def test_predictions_are_the_models_own_row_by_row(run, table, classifier, tmp_path):
    classifier.save(tmp_path / "m")
    X = load_breast_cancer().data[:, :1]
    for name in ("p.csv", "p.parquet"):
        status, out, _ = run("predict", tmp_path / "m", "--data", table, "--out", tmp_path / name)
        assert status == 0
        assert "569 predictions" in out
    written = pq.read_table(tmp_path / "p.parquet")
    assert written.column_names == ["prediction", "proba_benign", "proba_malignant"]
    assert written["prediction"].to_pylist() == classifier.predict(X).tolist()
    assert np.array_equal(written["proba_malignant"].to_numpy(), classifier.predict_proba(X)[:, 1])
    with (tmp_path / "p.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [row["prediction"] for row in rows] == written["prediction"].to_pylist()
    assert np.allclose(
        [float(row["proba_benign"]) for row in rows], written["proba_benign"].to_numpy(), rtol=1e-12
    )


def test_whole_number_classes_stay_whole_and_regressions_are_numbers(run, tmp_path):
    iris, diabetes = load_iris(), load_diabetes()
    for name, data in (("iris", iris), ("diabetes", diabetes)):
        columns = {f"c{j}": data.data[:, j] for j in range(data.data.shape[1])}
        pq.write_table(pa.table({**columns, "y": data.target}), tmp_path / f"{name}.parquet")
    names = tuple(f"c{j}" for j in range(4))
    logits = np.arange(12.0).reshape(4, 3) / 10
    linear_model("multinomial", names, "y", (0.0, 1.0, 2.0), logits, np.zeros(3)).save(tmp_path / "m")
    run("predict", tmp_path / "m", "--data", tmp_path / "iris.parquet", "--out", tmp_path / "p.parquet")
    written = pq.read_table(tmp_path / "p.parquet")
    assert written.schema.field("prediction").type == pa.int64()
    assert written.column_names[1:] == ["proba_0", "proba_1", "proba_2"]
    linear_model("linear", ("c2",), "y", None, np.array([900.0]), np.array(150.0)).save(tmp_path / "m")
    run("predict", tmp_path / "m", "--data", tmp_path / "diabetes.parquet", "--out", tmp_path / "p.parquet")
    predicted = pq.read_table(tmp_path / "p.parquet")["prediction"].to_numpy()
    assert np.allclose(predicted, 900 * diabetes.data[:, 2] + 150)


def test_a_missing_cell_is_named_and_no_half_file_is_left(run, classifier, tmp_path):
    classifier.save(tmp_path / "m")
    (tmp_path / "data.csv").write_text("mean_radius\n1.5\n\n2.5\nNA\n" + "3.5\n" * 10)
    (tmp_path / "p.csv").write_text("precious\n")
    status, _, err = run(
        "predict", tmp_path / "m", "--data", tmp_path / "data.csv", "--out", tmp_path / "p.csv"
    )
    assert status == 2
    assert "column 'mean_radius': row" in err
    assert "has no value" in err
    assert (tmp_path / "p.csv").read_text() == "precious\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "m", "p.csv"]


@pytest.mark.parametrize(
    ("model", "out", "status", "sentence"),
    [
        ("gone", "p.csv", 4, "gone"),
        ("m", "p.xlsx", 2, "out: 'p.xlsx' is not allowed; the name must end in .csv or .parquet"),
        ("cancer.parquet", "p.csv", 2, "error: "),
    ],
)
def test_model_and_output_are_checked_first(run, table, classifier, tmp_path, model, out, status, sentence):
    classifier.save(tmp_path / "m")
    got, _, err = run("predict", tmp_path / model, "--data", table, "--out", tmp_path / out)
    assert got == status
    assert sentence in err


def test_evaluation_by_shards_equals_the_models_scores_at_once(run, table, classifier, tmp_path):
    classifier.save(tmp_path / "m")
    status, out, _ = run("evaluate", tmp_path / "m", "--data", table, "--json")
    data = load_breast_cancer()
    expected = classifier.scores(data.data[:, :1], data.target_names[data.target])
    assert status == 0
    assert json.loads(out)["rows"] == 569
    assert json.loads(out)["scores"] == pytest.approx(expected, rel=1e-12)
    assert "accuracy" in run("evaluate", tmp_path / "m", "--data", table, "--target", "kind")[1]


def test_evaluation_of_many_shards_of_a_regression(run, tmp_path):
    data = load_diabetes()
    columns = {f"c{j}": np.tile(data.data[:, j], 40) for j in range(10)}
    pq.write_table(pa.table({**columns, "y": np.tile(data.target, 40)}), tmp_path / "d.parquet")
    model = linear_model("linear", ("c2",), "y", None, np.array([900.0]), np.array(150.0))
    model.save(tmp_path / "m")
    scores = json.loads(run("evaluate", tmp_path / "m", "--data", tmp_path / "d.parquet", "--json")[1])[
        "scores"
    ]
    assert scores == pytest.approx(model.scores(data.data[:, 2:3], data.target), rel=1e-9)


def test_labels_that_the_model_does_not_know_are_named(run, classifier, tmp_path):
    classifier.save(tmp_path / "m")
    (tmp_path / "data.csv").write_text("mean_radius,kind\n1.5,benign\n2.5,unsure\n")
    status, _, err = run("evaluate", tmp_path / "m", "--data", tmp_path / "data.csv")
    assert status == 2
    assert "column 'kind': rows 0 to 1: label 'unsure'" in err


# ---- progress


def a_round(number, eta=2.0, validation=None):
    return RoundCompleted(number, 100, 1 / number, None, validation, None, 0.1, 12_345.6, 4, eta)


def test_lines_come_at_most_once_a_second_and_the_last_round_always():
    now, lines = [0.0], []
    screen = LineScreen(lines.append, lambda: now[0])
    for number, at in [(1, 0.0), (2, 0.4), (3, 0.9), (4, 1.1), (5, 1.2), (6, 1.3)]:
        now[0] = at
        screen.round_done(a_round(number))
    screen.close()
    assert [line.split()[1] for line in lines] == ["1/100", "4/100", "6/100"]
    assert lines[0] == "round 1/100  loss 1  12,346 rows/s  4 workers  at most 2 s left"


def test_sentences_keep_their_place_between_rounds():
    lines = []
    events = [
        StateChanged(JobState.RUNNING, ""),
        a_round(1),
        a_round(2, validation=0.25),
        TaskRetried(RetryReason.WORKER_LOST, "worker-2", "4-7", 2, "its stream broke"),
        Note("the rest is silence"),
        StateChanged(JobState.COMPLETED, "converged"),
    ]
    numbered = [JobEvent(i, 0.0, what) for i, what in enumerate(events, 1)]
    follow(numbered, LineScreen(lines.append, lambda: 0.0))
    assert [line.split(" ")[0] for line in lines] == [
        "running",
        "round",
        "round",
        "retry:",
        "the",
        "completed:",
    ]
    assert "validation 0.25" in lines[2]
    assert (
        lines[3] == "retry: shards 4-7 of worker-2 are computed again, try 2 (worker_lost): its stream broke"
    )


def test_the_bar_of_a_terminal_shows_the_same_words(monkeypatch, capfd):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    screen = LiveScreen()
    follow([JobEvent(1, 0.0, a_round(3)), JobEvent(2, 0.0, Note("a note [sic]"))], screen)
    said = capfd.readouterr().err
    assert "a note [sic]" in said
    assert "round 3/100" in said


def test_the_loss_is_a_curve_that_takes_no_more_room_however_long_it_gets():
    curve = Curve()
    for i in range(100_000):
        curve.add(1.0 + 1.0 / (i + 1))
    curve.add(None)
    curve.add(float("nan"))
    assert len(curve.points) <= 240
    drawn = curve.text(40)
    assert len(drawn) <= 40
    assert (drawn[0], drawn[-1]) == ("█", "▁")
    assert Curve().text() == ""
    flat = Curve()
    flat.add(2.0)
    assert flat.text() == "▁"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (0.42, "0.42 s"), (12.4, "12 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations_are_readable(seconds, text):
    assert seconds_text(seconds) == text
