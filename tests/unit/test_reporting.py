"""`gradloom report` and `gradloom trace`, and the same from Python, against a coordinator that plays a script."""

import json

import pytest

from builders.runs import completed, even_trace, view
from gradloom.cli import main
from gradloom.errors import NotFound
from gradloom.jobs import JobState, Note, StateChanged


@pytest.fixture
def cluster(fake_cluster):
    """One job that has ended, with its trace."""
    happened = [
        StateChanged(JobState.RUNNING, "go"),
        completed(1),
        completed(2),
        Note("a <b>note</b>"),
        completed(3),
    ]
    fake_cluster.add_job(view(), *happened, StateChanged(JobState.COMPLETED, "converged"))
    fake_cluster.traces["job-1"] = even_trace(workers=4)
    return fake_cluster


def test_a_report_is_one_file(cluster, tmp_path, capsys) -> None:
    out = tmp_path / "report.html"
    assert main(["report", "job-1", "--out", str(out), "--cluster", cluster.address]) == 0
    page = out.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "a &lt;b&gt;note&lt;/b&gt;" in page
    assert "It beats one machine from 2 workers on" in page
    said = capsys.readouterr().out
    assert said.startswith(f"report  {out}  (")


def test_a_report_with_json_says_what_was_written(cluster, tmp_path, capsys) -> None:
    out = tmp_path / "report.html"
    assert main(["report", "job-1", "--out", str(out), "--cluster", cluster.address, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "job_id": "job-1",
        "report": str(out),
        "bytes": out.stat().st_size,
        "goodput": pytest.approx(0.8),
    }


def test_a_report_of_a_live_job_does_not_wait_for_its_end(fake_cluster, tmp_path) -> None:
    fake_cluster.add_job(view(JobState.RUNNING), StateChanged(JobState.RUNNING, "go"), completed(1))
    out = tmp_path / "report.html"
    assert main(["report", "job-1", "--out", str(out), "--cluster", fake_cluster.address]) == 0
    assert "there is no trace of job job-1" in out.read_text(encoding="utf-8")


def test_a_trace_is_a_file_for_perfetto(cluster, tmp_path, capsys) -> None:
    out = tmp_path / "trace.json"
    assert main(["trace", "job-1", "--out", str(out), "--cluster", cluster.address]) == 0
    file = json.loads(out.read_text(encoding="utf-8"))
    assert sum(event["ph"] == "X" and event["cat"] == "task" for event in file["traceEvents"]) == 20
    told = capsys.readouterr()
    assert told.out == f"trace   {out}  (5 rounds, 20 tasks)\n"
    assert f"gradloom simulate --trace recorded --trace-file {out}" in told.err


def test_a_trace_with_json(cluster, tmp_path, capsys) -> None:
    out = tmp_path / "trace.json"
    assert main(["trace", "job-1", "--out", str(out), "--cluster", cluster.address, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"job_id": "job-1", "trace": str(out), "rounds": 5, "tasks": 20, "dropped_tasks": 0}


def test_where_nothing_is_kept_a_trace_is_not_found(fake_cluster, tmp_path, capsys) -> None:
    fake_cluster.add_job(view(), completed(1), StateChanged(JobState.COMPLETED, ""))
    out = tmp_path / "trace.json"
    assert main(["trace", "job-1", "--out", str(out), "--cluster", fake_cluster.address]) == 4
    assert "there is no trace of job job-1" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("command", ["report", "trace"])
@pytest.mark.parametrize(
    ("place", "says"), [("", "is a folder; the name of a file is needed"), ("none/x", "does not exist")]
)
def test_a_file_that_can_not_be_written_is_refused_before_anybody_is_asked(
    command, place, says, tmp_path, capsys
) -> None:
    words = [command, "job-1", "--out", str(tmp_path / place), "--cluster", "127.0.0.1:1"]
    assert main(words) == 2
    assert says in capsys.readouterr().err


def test_an_unknown_job_is_not_found(cluster, tmp_path, capsys) -> None:
    assert main(["report", "job-9", "--out", str(tmp_path / "r.html"), "--cluster", cluster.address]) == 4
    assert "there is no job" in capsys.readouterr().err


# ---- from Python


def test_a_trace_and_the_events_by_now(cluster) -> None:
    with cluster.client() as client:
        job = client.job("job-1")
        trace = job.trace()
        assert (len(trace.rounds), len(trace.tasks), len(trace.head.workers)) == (5, 20, 4)
        assert [event.sequence for event in job.history()] == [1, 2, 3, 4, 5, 6]


def test_a_trace_that_is_not_kept(fake_cluster, make_job) -> None:
    fake_cluster.add_job(make_job())
    with fake_cluster.client() as client, pytest.raises(NotFound, match="there is no trace"):
        client.job("job-1").trace()


def test_a_notebook_shows_a_job_or_why_it_can_not(cluster) -> None:
    with cluster.client() as client:
        job = client.job("job-1")
        assert "completed: converged" in job._repr_html_()
        del cluster.jobs["job-1"]
        assert "there is no job" in job._repr_html_()


def test_a_job_is_plotted(cluster) -> None:
    with cluster.client() as client:
        figure = client.job("job-1").plot()
    assert [axes.get_ylabel() for axes in figure.axes[:2]] == ["loss", "seconds a round"]
