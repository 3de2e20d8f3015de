"""``gradloom train`` as people and scripts meet it: words in, words and an exit status out."""

import json
import subprocess

import pytest

from gradloom import local
from gradloom.cli import training
from gradloom.errors import Unavailable
from gradloom.jobs import (
    JobState,
    StateChanged,
)
from gradloom.models import load_model


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
