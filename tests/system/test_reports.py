"""Report, trace and recorded speeds of a real run on real processes, with a fault in it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from builders.shell import Shell
from gradloom import LocalCluster
from gradloom.client import Job
from gradloom.faults import Fault, FaultKind
from gradloom.jobs import JobState, RoundCompleted

pytestmark = pytest.mark.system
ROUNDS = 100


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(workers=2, allow_chaos=True) as running:
        yield running


@pytest.fixture(scope="module")
def job(cluster: LocalCluster, slow_data: Path) -> Job:
    """A run that was steered once, and had one result with NaN."""
    client = cluster.client()
    settings = {"solver": "adam", "learning_rate": 0.05, "max_rounds": ROUNDS}
    job = client.submit("logistic", data=str(slow_data), target="60", shards=8, settings=settings)
    for event in job.until_settled(120):
        if isinstance(event.what, RoundCompleted) and event.what.round == 5:
            job.update(settings={"learning_rate": 0.01})
            client.inject("worker-1", Fault(FaultKind.NAN, count=1))
    assert job.view().state is JobState.COMPLETED
    return job


def test_the_trace_accounts_for_the_run(job: Job) -> None:
    trace, view = job.trace(), job.view()
    steps = Counter(span.step for span in trace.rounds)
    assert (steps["profile"], steps["train"]) == (1, ROUNDS)
    assert [span.training_round for span in trace.rounds if span.step == "train"] == list(
        range(1, ROUNDS + 1)
    )
    assert trace.head.training_rounds == ROUNDS
    assert trace.head.dropped_tasks == 0
    counted = [span for span in trace.tasks if span.counted]
    for number in {span.number for span in trace.rounds}:
        shards = sorted((t.lo, t.hi) for t in counted if t.round == number)
        assert [lo for lo, _ in shards] == [0, *(hi for _, hi in shards[:-1])], "every shard once"
        assert shards[-1][1] == 8
    assert {span.worker for span in trace.tasks if span.lost_because == "nonfinite"} == {"worker-1"}
    rows = {share.worker: share.rows for share in view.workers}
    for totals in trace.head.workers:
        assert totals.rows == rows[totals.worker]
        assert 0 < totals.useful_s <= totals.held_s <= view.seconds
        assert sum(t.busy_s for t in counted if t.worker == totals.worker) == pytest.approx(totals.useful_s)


def test_the_reading_of_a_job_says_what_can_be_steered_and_rolled_back(
    cluster: LocalCluster, slow_data: Path
) -> None:
    settings = {"solver": "adam", "learning_rate": 0.05, "max_rounds": 10_000}
    with cluster.client() as client:
        live = client.submit("logistic", data=str(slow_data), target="60", settings=settings)
        for event in live.watch(timeout_s=60):
            if isinstance(event.what, RoundCompleted) and live.view().checkpoints:
                break
        fields = {one.field: one.value for one in live.view().steerable}
        assert fields["settings.learning_rate"] == "0.05"
        assert fields["synchrony"] == "synchronous"
        assert "settings.solver" not in fields
        checkpoint = live.view().checkpoints[0]
        assert live.rollback(checkpoint.round).state is not JobState.FAILED
        ended = live.cancel("enough")
        assert (ended.checkpoints, ended.steerable) == ((), ())


def test_the_commands_write_files_that_stand_by_themselves(
    cluster: LocalCluster, job: Job, shell: Shell
) -> None:
    said = shell.json("report", job.id, "--cluster", cluster.address, "--out", "report.html")
    assert 0 < said["goodput"] <= 1
    page = (shell.folder / "report.html").read_text(encoding="utf-8")
    assert "nonfinite" in page
    assert "settings.learning_rate" in page
    assert "That can't be known" not in page

    said = shell.json("trace", job.id, "--cluster", cluster.address, "--out", "trace.json")
    file = json.loads((shell.folder / "trace.json").read_text(encoding="utf-8"))
    assert said["rounds"] == sum(e["ph"] == "X" and e["cat"] == "round" for e in file["traceEvents"])
    assert {e["args"]["name"] for e in file["traceEvents"] if e["name"] == "process_name"} == {
        f"job {job.id}",
        "worker worker-0",
        "worker worker-1",
    }
    words = ("--trace", "recorded", "--trace-file", "trace.json", "--rounds", "5", "--policy", "synchronous")
    assert shell.json("simulate", *words)["policies"]["synchronous"]["round_s"] > 0


def test_a_job_without_a_round_has_no_trace_and_its_report_says_so(
    cluster: LocalCluster, tmp_path: Path, shell: Shell
) -> None:
    empty = tmp_path / "text.csv"
    empty.write_text("a,b\n1,x\n")
    with cluster.client() as client:
        job = client.submit("logistic", data=str(empty), target="none")
        assert job.wait(60).state is JobState.FAILED
    done = shell.run("trace", job.id, "--cluster", cluster.address, "--out", "trace.json")
    assert (done.status, (shell.folder / "trace.json").exists()) == (4, False)
    assert "there is no trace" in done.err
    assert shell.run("report", job.id, "--cluster", cluster.address, "--out", "report.html").status == 0
    assert "there is no trace" in (shell.folder / "report.html").read_text(encoding="utf-8")
