"""What people can rely on when the network or the coordinator does not behave."""

import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from builders.models import linear_model
from gradloom import connection
from gradloom.client import Client, absolute_uris
from gradloom.errors import (
    Conflict,
    GradloomError,
    InvalidInput,
    JobCancelled,
    JobFailed,
    NotFound,
    Outdated,
    Unavailable,
)
from gradloom.jobs import JobState, Note, RoundCompleted, StateChanged
from gradloom.specs import setting_text
from gradloom.wire.jobs import job_spec_from_proto

DONE = StateChanged(JobState.COMPLETED, "converged")
NOTES = [Note(f"note {i}") for i in range(4)]


def a_model():
    return linear_model("linear", ("x", "z"), "y", None, np.array([0.5, -2.0]), np.array(0.25))


@pytest.fixture
def nobody():
    """An address that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_job_is_submitted_as_it_was_asked_for(fake_cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with fake_cluster.client() as client:
        job = client.submit(
            "logistic",
            data=["train/*.parquet", "s3://bucket/more.parquet"],
            target="late",
            features=["a", "b"],
            test_fraction=0.25,
            seed=7,
            settings={"l2": 0.01, "fit_intercept": False, "class_weight": None, "max_rounds": 50},
        )
    spec = job_spec_from_proto(fake_cluster.submitted[0].spec)
    assert job.id == "job-1"
    assert spec.data.uris == (str(tmp_path / "train/*.parquet"), "s3://bucket/more.parquet")
    assert (spec.data.target, spec.data.features, spec.test_fraction, spec.seed) == (
        "late",
        ("a", "b"),
        0.25,
        7,
    )
    expected = {"l2": "0.01", "fit_intercept": "false", "class_weight": "none", "max_rounds": "50"}
    assert spec.settings == expected


def test_a_submission_that_finds_the_cluster_away_is_repeated_under_the_same_token(fake_cluster):
    fake_cluster.refusals = [Unavailable("starting up"), Unavailable("starting up")]
    with fake_cluster.client() as client:
        client.submit("linear", data="a.csv", target="y")
    tokens = [request.client_token for request in fake_cluster.submitted]
    assert len(tokens) == 3
    assert len(set(tokens)) == 1
    assert tokens[0]


def test_two_submissions_have_two_tokens_unless_told_otherwise(fake_cluster):
    with fake_cluster.client() as client:
        for token in (None, None, "mine"):
            client.submit("linear", data="a.csv", target="y", client_token=token)
    first, second, third = (request.client_token for request in fake_cluster.submitted)
    assert first != second
    assert third == "mine"


def test_a_refusal_is_raised_at_once_with_its_field(fake_cluster):
    fake_cluster.refusals = [InvalidInput("learning_rate", "-1 is not allowed")]
    with fake_cluster.client() as client, pytest.raises(InvalidInput) as refused:
        client.submit("linear", data="a.csv", target="y")
    assert refused.value.field == "learning_rate"
    assert len(fake_cluster.submitted) == 1


def test_what_is_wrong_in_any_case_is_refused_without_a_call(fake_cluster):
    with fake_cluster.client() as client:
        for wrong in ({"data": ""}, {"data": []}, {"test_fraction": 1.5}, {"seed": -1}, {"features": "a,b"}):
            with pytest.raises(InvalidInput, match=next(iter(wrong))):
                client.submit("linear", **{"data": "a.csv", **wrong})
    assert fake_cluster.submitted == []


def test_a_cluster_that_is_not_there_is_named(nobody):
    with Client(nobody, timeout_s=0.5) as client, pytest.raises(Unavailable, match=nobody):
        client.jobs()


def test_a_closed_client_says_so(fake_cluster):
    client = fake_cluster.client()
    client.close()
    client.close()
    with pytest.raises(Unavailable, match="closed"):
        client.jobs()


def test_timeouts_must_be_positive():
    with pytest.raises(InvalidInput, match="timeout_s"):
        Client(timeout_s=0)


def test_jobs_workers_and_algorithms_are_listed(fake_cluster, make_job, make_worker):
    fake_cluster.add_job(make_job())
    fake_cluster.workers = [make_worker("worker-0"), make_worker("worker-1")]
    with fake_cluster.client() as client:
        assert client.jobs() == [make_job()]
        assert [worker.worker for worker in client.workers()] == ["worker-0", "worker-1"]
        assert client.algorithms() == []
        assert client.job("job-1").view() == make_job()


def test_an_unknown_job_is_not_found(fake_cluster):
    with fake_cluster.client() as client:
        with pytest.raises(NotFound, match="job-9"):
            client.job("job-9")
        client.submit("linear", data="a.csv", target="y")


def test_a_watch_that_breaks_twice_shows_every_event_once(fake_cluster, make_job):
    fake_cluster.add_job(make_job(), *NOTES, DONE)
    fake_cluster.break_after = [2, 1]
    with fake_cluster.client() as client:
        seen = [event.sequence for event in client.job("job-1").watch()]
    assert seen == [1, 2, 3, 4, 5]
    assert fake_cluster.watched_after == [0, 2, 3]


def test_a_watch_can_begin_where_another_one_ended(fake_cluster, make_job):
    fake_cluster.add_job(make_job(), *NOTES, DONE)
    with fake_cluster.client() as client:
        assert [event.sequence for event in client.job("job-1").watch(after_sequence=3)] == [4, 5]


def test_a_watch_that_ends_in_good_order_while_the_job_goes_on_is_taken_up_again(fake_cluster, make_job):
    fake_cluster.add_job(make_job(JobState.RUNNING), *NOTES, DONE)
    fake_cluster.end_after = [3, 0]
    with fake_cluster.client() as client:
        assert [event.sequence for event in client.job("job-1").watch()] == [1, 2, 3, 4, 5]
    assert fake_cluster.watched_after == [0, 3, 3]


def test_a_watch_that_begins_after_the_end_has_nothing_to_say(fake_cluster, make_job):
    fake_cluster.add_job(make_job(), *NOTES, DONE)
    with fake_cluster.client() as client:
        assert list(client.job("job-1").watch(after_sequence=5)) == []
    assert fake_cluster.watched_after == [5]


def test_a_watch_that_stays_broken_gives_up(fake_cluster, make_job):
    fake_cluster.add_job(make_job(JobState.RUNNING), *NOTES)
    fake_cluster.break_after = [2] + [0] * 100
    with fake_cluster.client(timeout_s=0.3) as client:
        watched = client.job("job-1").watch()
        assert [next(watched).sequence, next(watched).sequence] == [1, 2]
        with pytest.raises(Unavailable, match=r"did not come back within 0.3 s: the connection broke"):
            next(watched)


def test_a_quiet_stream_that_is_cut_now_and_then_is_taken_up_for_ever(fake_cluster, make_job, monkeypatch):
    monkeypatch.setattr(connection, "MAX_PAUSE_S", 0.1)
    fake_cluster.add_job(make_job(JobState.RUNNING), NOTES[0])
    fake_cluster.cut_after_s = [0.2] * 6
    with fake_cluster.client(timeout_s=0.4) as client:
        watched = client.job("job-1").watch()
        assert next(watched).sequence == 1
        threading.Timer(0.9, lambda: fake_cluster.add_job(make_job(), NOTES[0], DONE)).start()
        assert [event.what for event in watched] == [DONE]
    assert len(fake_cluster.watched_after) >= 4


def test_watching_an_unknown_job_is_refused_at_once(fake_cluster, make_job):
    fake_cluster.add_job(make_job())
    with fake_cluster.client() as client:
        job = client.job("job-1")
        fake_cluster.jobs.clear()
        with pytest.raises(NotFound):
            next(job.watch())


def test_waiting_has_a_limit(fake_cluster, make_job):
    fake_cluster.add_job(make_job(JobState.RUNNING), *NOTES)
    sentence = r"job job-1 has not ended within 0.2 s; it is running"
    with fake_cluster.client() as client, pytest.raises(Unavailable, match=sentence):
        client.job("job-1").wait(timeout_s=0.2)


def test_an_end_that_was_shown_and_taken_back_by_a_restart_is_waited_for_again(fake_cluster, make_job):
    fake_cluster.add_job(make_job(JobState.RUNNING), *NOTES, DONE)
    with fake_cluster.client() as client:
        with pytest.raises(Unavailable, match=r"has not ended within 0.3 s; it is running"):
            client.job("job-1").wait(timeout_s=0.3)
        threading.Timer(0.3, lambda: fake_cluster.add_job(make_job(), *NOTES, DONE, DONE)).start()
        fake_cluster.cut_after_s = [0.2] * 10
        assert client.job("job-1").wait().state is JobState.COMPLETED


def test_a_model_whose_download_breaks_is_fetched_again(fake_cluster, make_job):
    fake_cluster.add_job(make_job(), DONE)
    fake_cluster.model = a_model().to_bytes()
    fake_cluster.downloads_that_break = 2
    with fake_cluster.client() as client:
        assert client.job("job-1").model().parameters_sha256 == a_model().parameters_sha256


def test_a_cluster_that_was_there_is_waited_for_while_it_is_started_again(fake_cluster, monkeypatch):
    monkeypatch.setattr(connection, "MAX_PAUSE_S", 0.1)
    with fake_cluster.client() as client:
        client.jobs()
        fake_cluster.refusals = [Unavailable("starting up")] * 6
        client.jobs()
    assert fake_cluster.refusals == []


def test_a_cluster_that_is_not_there_is_not_waited_for_longer_than_people_like(nobody):
    began = time.monotonic()
    with Client(nobody) as client, pytest.raises(Unavailable, match=nobody):
        client.jobs()
    assert time.monotonic() - began < 3.0


def test_the_result_is_the_model_to_the_bit(fake_cluster, make_job):
    fake_cluster.add_job(make_job(), RoundCompleted(1, 1, 0.5, None, None, None, 0.1, 1.0, 1, 0.0), DONE)
    fake_cluster.model = a_model().to_bytes()
    assert len(fake_cluster.model) > 200, "it should come in several chunks"
    with fake_cluster.client() as client:
        model = client.job("job-1").result(timeout_s=10)
    assert model.parameters_sha256 == a_model().parameters_sha256
    assert model.features == ("x", "z")


@pytest.mark.parametrize(
    ("state", "kind"), [(JobState.FAILED, JobFailed), (JobState.CANCELLED, JobCancelled)], ids=str
)
def test_a_job_without_a_model_raises_its_reason(fake_cluster, make_job, state, kind):
    reason = "shard 3 (rows 300 to 399) on worker-1: out of memory"
    fake_cluster.add_job(make_job(state, reason), StateChanged(state, reason))
    with fake_cluster.client() as client, pytest.raises(JobFailed) as ended:
        client.job("job-1").result(timeout_s=10)
    assert type(ended.value) is kind
    assert reason in ended.value.message


def test_cancelling_says_why(fake_cluster, make_job):
    fake_cluster.add_job(make_job(JobState.RUNNING))
    with fake_cluster.client() as client:
        assert client.job("job-1").cancel("wrong data").state is JobState.CANCELLED
    assert fake_cluster.cancelled == [("job-1", "wrong data")]


def test_cancelling_what_has_ended_is_a_conflict(fake_cluster, make_job):
    fake_cluster.add_job(make_job())
    with fake_cluster.client() as client:
        job = client.job("job-1")
        fake_cluster.refusals = [Conflict("job job-1 has completed")]
        with pytest.raises(Conflict, match="has completed"):
            job.cancel()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (np.bool_(False), "false"),
        (None, "none"),
        (3, "3"),
        (0.1, "0.1"),
        (1e-7, "1e-07"),
        (np.float64(0.1), "0.1"),
        (np.float32(0.5), "0.5"),
        (np.int64(7), "7"),
        ("adam", "adam"),
    ],
    ids=repr,
)
def test_settings_become_text(value, text):
    assert setting_text("name", value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, 2], {"a": 1}, np.zeros(2)], ids=repr)
def test_settings_that_have_no_text_are_refused_by_name(value):
    with pytest.raises(InvalidInput, match=r"^l2: .* is not allowed"):
        setting_text("l2", value)


def test_only_local_relative_paths_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    given = ["a.csv", "../b/*.csv", Path("c.npz"), "/d.csv", "~/e.csv", "gs://f/g.csv", "zip://h::s3://i", ""]
    assert absolute_uris(given) == (
        str(tmp_path / "a.csv"),
        str(tmp_path.parent / "b/*.csv"),
        str(tmp_path / "c.npz"),
        "/d.csv",
        "/home/ada/e.csv",
        "gs://f/g.csv",
        "zip://h::s3://i",
        "",
    )
    assert absolute_uris("one.csv") == (str(tmp_path / "one.csv"),)


def test_every_error_of_a_client_is_a_gradloom_error(nobody):
    with Client(nobody, timeout_s=0.2) as client:
        for call in (client.jobs, client.workers, client.algorithms, lambda: client.job("job-1")):
            with pytest.raises(GradloomError):
                call()


def test_a_live_job_is_changed_in_what_is_named_and_nothing_else(fake_cluster, make_job):
    fake_cluster.add_job(make_job(JobState.RUNNING))
    with fake_cluster.client() as client:
        view = client.job("job-1").update(synchrony="bounded:3", speculation=False, etag="seen")
    (request,) = fake_cluster.updated
    assert list(request.update_mask.paths) == ["synchrony", "speculation"]
    assert (request.spec.synchrony, request.spec.speculation, request.etag) == ("bounded:3", "off", "seen")
    assert (view.spec.synchrony, view.spec.speculation, view.etag) == ("bounded:3", "off", "+")


def test_a_change_that_is_wrong_in_any_case_is_refused_without_a_call(fake_cluster, make_job):
    fake_cluster.add_job(make_job(JobState.RUNNING))
    with fake_cluster.client() as client:
        for wrong in ({"share_weight": 0.0}, {"synchrony": "bonded"}):
            with pytest.raises(InvalidInput, match=next(iter(wrong))):
                client.job("job-1").update(**wrong)
    assert fake_cluster.updated == []


def test_a_change_over_an_old_etag_is_raised_as_what_it_is(fake_cluster, make_job):
    fake_cluster.add_job(make_job(JobState.RUNNING))
    with fake_cluster.client() as client:
        job = client.job("job-1")
        fake_cluster.refusals = [Outdated("its etag is b, not a")]
        with pytest.raises(Outdated, match="its etag is b, not a"):
            job.update(placement="random", etag="a")
