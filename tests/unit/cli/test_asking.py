"""Commands that ask a cluster or change a job, and what ``up`` says."""

import json
import subprocess
from dataclasses import replace

import pytest

from gradloom.errors import GradloomError
from gradloom.jobs import (
    Compression,
    JobState,
)
from gradloom.models import load_model


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
        "sent up 40 kB instead of 4 MB (100 x, topk:0.01 now)",
        "sent down 8 kB",
        "codec picked topk:0.01: slow",
        "codec time 1.5 s to encode, 250 ms to decode",
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
