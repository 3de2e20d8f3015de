"""Queries to real clusters: many at once, while workers and the coordinator are killed, and every answer exact."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pytest
from sklearn.datasets import load_digits

from builders.neighbors import brute_force
from builders.shell import Shell
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.errors import Conflict, InvalidInput, NotFound, NotInTime
from gradloom.jobs import JobState, StateChanged
from gradloom.nearest.answers import Ask, Question

pytestmark = pytest.mark.system

LIMIT_S = 60.0
QUERIES = 200
THREADS = 8
NEIGHBORS = 7
SERVED = {"serve": "cluster", "n_neighbors": NEIGHBORS}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,797 rows of 64 small whole numbers, hence many rows that are equally far; carries its own target."""
    path = tmp_path_factory.mktemp("query") / "digits.npz"
    np.savez(path, X=load_digits().data, y=load_digits().target)
    return path


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(workers=3) as running:
        yield running


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with cluster.client() as one:
        yield one


def serve(client: Client, data: Path, algorithm: str = "knn_classifier", **settings: Any) -> Job:
    job = client.submit(algorithm, data=str(data), shards=9, settings={**SERVED, **settings})
    view = job.wait(LIMIT_S)
    assert view.state is JobState.SERVING, view.reason
    return job


@pytest.fixture(scope="module")
def served(cluster: LocalCluster, digits: Path) -> Iterator[Job]:
    with cluster.client() as client:
        job = serve(client, digits)
        yield job
        assert job.cancel("the tests are over").state is JobState.COMPLETED


@pytest.fixture(scope="module")
def truth() -> tuple[Any, Any]:
    """Queries between the rows of digits, and the ids of their neighbours."""
    X = load_digits().data
    queries = np.round((X[:QUERIES] + X[QUERIES : 2 * QUERIES]) / 2)
    return queries, brute_force("euclidean", X, queries, NEIGHBORS)


def ask_from_many_threads(job: Job, queries: Any, meanwhile: Any) -> list[Any]:
    """One query at a time from each thread; ``meanwhile`` is called once a quarter of them are answered."""
    answered = threading.Semaphore(0)

    def ask(i: int) -> Any:
        found = job.kneighbors(queries[i : i + 1])
        answered.release()
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        asked = [pool.submit(ask, i) for i in range(len(queries))]
        for _ in range(len(queries) // 4):
            assert answered.acquire(timeout=LIMIT_S)
        meanwhile()
        return [one.result(LIMIT_S) for one in asked]


def check(found: list[Any], truth: tuple[Any, Any]) -> None:
    distances, ids = truth
    np.testing.assert_array_equal(np.concatenate([one.ids for one in found]), ids)
    np.testing.assert_array_equal(np.concatenate([one.distances for one in found]), distances)


def test_a_worker_is_killed_while_many_ask_and_every_answer_is_exact(
    cluster: LocalCluster, served: Job, truth: tuple[Any, Any]
) -> None:
    queries, expected = truth
    victim = cluster.workers[0]
    check(ask_from_many_threads(served, queries, lambda: victim.send_signal(signal.SIGKILL)), expected)
    assert served.view().state is JobState.SERVING
    cluster.add_worker()
    check([served.kneighbors(queries)], expected)


def test_the_coordinator_is_killed_while_many_ask_and_the_job_comes_back_serving(
    cluster: LocalCluster, served: Job, truth: tuple[Any, Any]
) -> None:
    queries, expected = truth

    def crash() -> None:
        cluster.kill_coordinator()
        cluster.restart_coordinator()

    check(ask_from_many_threads(served, queries, crash), expected)
    view = served.view()
    assert view.state is JobState.SERVING
    states = [event.what.state for event in _so_far(served) if isinstance(event.what, StateChanged)]
    assert states.count(JobState.SERVING) == 2


def _so_far(job: Job) -> list[Any]:
    """Its events up to now."""
    events = []
    for event in job.until_settled(LIMIT_S):
        events.append(event)
    for event in job.watch(events[-1].sequence, timeout_s=1.0):
        events.append(event)
    return events


def test_all_that_a_job_of_neighbours_can_be_asked(served: Job, truth: tuple[Any, Any], digits: Path) -> None:
    X, y = load_digits(return_X_y=True)
    queries, (distances, _) = truth
    votes = served.predict_proba(queries[:50])
    assert votes.shape == (50, 10)
    np.testing.assert_array_equal(served.predict(queries[:50]), votes.argmax(axis=1))
    np.testing.assert_array_equal(served.predict(X), served.query(X).values)  # type: ignore[union-attr]
    assert np.mean(served.predict(X) == y) > 0.97
    assert served.kneighbors(X[:3], 1).ids.tolist() == [[0], [1], [2]]
    within = served.radius_neighbors(queries[:5], distances[:5, -1].max())
    assert (within.counts >= NEIGHBORS).sum() >= 1
    assert all((within.of(i)[0] <= distances[:5, -1].max()).all() for i in range(5))


def test_what_can_not_be_answered_is_refused_and_others_are_still_answered(
    served: Job, client: Client, truth: tuple[Any, Any]
) -> None:
    queries, (_, ids) = truth
    with pytest.raises(InvalidInput, match="neighbors: 1798 is not allowed"):
        served.kneighbors(queries[:1], 1798)
    with pytest.raises(InvalidInput, match="needed are rows of 64 columns"):
        served.predict(queries[:1, :3])
    with pytest.raises(InvalidInput, match=r"radius: -1\.0 is not allowed"):
        served.radius_neighbors(queries[:1], -1.0)
    with pytest.raises(InvalidInput, match="row 0 holds a value in column '0' that is not finite"):
        served.predict(np.full((1, 64), np.nan))
    with pytest.raises(Conflict, match="nothing of it could stand still"):
        served.pause()
    with pytest.raises(NotFound):
        Job(client._connection, "nobody").predict(queries[:1])
    np.testing.assert_array_equal(served.kneighbors(queries[:1]).ids, ids[:1])


def test_its_model_says_where_its_rows_are(served: Job) -> None:
    model = served.model()
    with pytest.raises(InvalidInput, match=f"with the workers of job {served.id}"):
        model.predict(load_digits().data[:1])


def test_a_job_that_has_completed_answers_from_its_model(
    client: Client, digits: Path, breast_cancer_csv: Path
) -> None:
    X = load_digits().data
    held = client.submit("knn_classifier", data=str(digits), settings={"n_neighbors": NEIGHBORS})
    model = held.result(LIMIT_S)
    assert held.view().state is JobState.COMPLETED
    np.testing.assert_array_equal(held.predict(X[:2000]), model.predict(X[:2000]))
    np.testing.assert_array_equal(held.kneighbors(X[:9]).ids, model.kneighbors(X[:9]).ids)  # type: ignore[attr-defined]

    linear = client.submit("logistic", data=str(breast_cancer_csv), target="diagnosis")
    model = linear.result(LIMIT_S)
    table = pyarrow.csv.read_csv(breast_cancer_csv).drop_columns("diagnosis")
    rows = np.column_stack([column.to_numpy() for column in table.columns]).copy(order="C")
    assert set(linear.predict(rows)) == {"benign", "malignant"}
    np.testing.assert_array_equal(linear.predict(rows), model.predict(rows))
    np.testing.assert_array_equal(linear.predict_proba(rows), model.predict_proba(rows))
    with pytest.raises(InvalidInput, match="knows no neighbours"):
        linear.query(rows[:1], Question(Ask.NEIGHBORS))


def test_a_job_that_has_stopped_serving_or_never_will_is_not_waited_for(client: Client, digits: Path) -> None:
    job = serve(client, digits, "neighbors")
    view = job.cancel("not needed")
    assert (view.state, view.reason) == (JobState.COMPLETED, "stopped serving: not needed")
    with pytest.raises(InvalidInput, match="are not in the model"):
        job.kneighbors(np.zeros((1, 64)))
    broken = client.submit("knn_classifier", data=str(digits), settings={"n_neighbors": 5000})
    broken.wait(LIMIT_S)
    with pytest.raises(Conflict, match="is failed"):
        broken.predict(np.zeros((1, 64)))


def test_a_job_that_nobody_asks_any_more_stops_serving_by_itself(client: Client, digits: Path) -> None:
    job = serve(client, digits, "neighbors", serve_for_s=0.5)
    assert job.kneighbors(load_digits().data[:1], 1).ids.tolist() == [[0]]
    last = list(job.watch(timeout_s=LIMIT_S))[-1].what
    assert last == StateChanged(JobState.COMPLETED, "stopped serving: nobody has asked for 0.5 s")


def test_the_command_line_predicts_with_a_job_that_serves(
    cluster: LocalCluster, served: Job, shell: Shell, tmp_path: Path
) -> None:
    X = load_digits().data
    np.save(tmp_path / "rows.npy", X)
    out = tmp_path / "predicted.csv"
    shell.run(
        "predict", served.id, "--cluster", cluster.address, "--data", tmp_path / "rows.npy", "--out", out
    )
    predicted = pyarrow.csv.read_csv(out)
    np.testing.assert_array_equal(predicted["prediction"].to_numpy(), served.predict(X))
    assert predicted.column_names[1:] == [f"proba_{i}" for i in range(10)]


def test_a_query_ends_with_its_callers_patience(cluster: LocalCluster, digits: Path) -> None:
    with LocalCluster(workers=1) as lonely, Client(lonely.address, timeout_s=LIMIT_S) as client:
        job = serve(client, digits, "neighbors")
        lonely.workers[0].kill()
        with Client(lonely.address, timeout_s=1.5) as hurried:
            before = time.monotonic()
            with pytest.raises(NotInTime, match=f"no answer within .* s: job {job.id} is serving"):
                hurried.job(job.id).kneighbors(np.zeros((1, 64)))
            assert time.monotonic() - before < LIMIT_S
        lonely.add_worker()
        assert job.kneighbors(np.zeros((1, 64))).ids.shape == (1, NEIGHBORS)
