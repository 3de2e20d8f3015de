"""Estimators among scikit-learn's tools, on files, on clusters elsewhere, in threads, forks and processes that end."""

import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from gradloom import Client, LocalCluster
from gradloom.client import Job
from gradloom.cluster import KMeans
from gradloom.decomposition import PCA
from gradloom.errors import Conflict, InvalidParameter, JobFailed, Unavailable
from gradloom.estimators.clusters import close_embedded
from gradloom.jobs import JobState
from gradloom.linear_model import LinearRegression, LogisticRegression, Ridge
from gradloom.neighbors import KNeighborsClassifier
from gradloom.preprocessing import StandardScaler
from gradloom.svm import SVC

pytestmark = pytest.mark.system


@pytest.fixture(scope="module", autouse=True)
def one_cluster() -> Iterator[None]:
    yield
    close_embedded()


def uploads(cluster: LocalCluster) -> list[str]:
    folder = cluster.data_dir / "uploads"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# ---- scikit-learn's tools


def test_a_pipeline_of_ours_is_searched_and_cross_validated() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), PCA(), LogisticRegression())
    grid = {"pca__n_components": [2, 8], "logisticregression__C": [0.1, 10.0]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert search.best_score_ > 0.96
    assert cross_val_score(search.best_estimator_, X, y, cv=3).min() > 0.95


def test_clones_and_pickles_do_without_the_cluster(cluster: LocalCluster) -> None:
    X, y = load_iris(return_X_y=True)
    with cluster.client() as client:
        for given in (cluster, client, cluster.address, None):
            fitted = KNeighborsClassifier(3, cluster=given).fit(X, y)
            unfitted = clone(fitted)
            assert unfitted.cluster is given
            assert not hasattr(unfitted, "classes_")
            loaded = pickle.loads(pickle.dumps(fitted))
            assert loaded.cluster == (None if given is None else cluster.address)
            np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    assert loaded.fit(X, y).score(X, y) > 0.9


def test_data_frames_give_names_and_get_them_back() -> None:
    frame, y = load_wine(return_X_y=True, as_frame=True)
    scaler = StandardScaler().set_output(transform="pandas").fit(frame)
    scaled = scaler.transform(frame)
    assert scaled.columns.tolist() == frame.columns.tolist() == scaler.get_feature_names_out().tolist()
    components = PCA(2).set_output(transform="pandas").fit_transform(frame)
    assert components.columns.tolist() == ["pca0", "pca1"]
    assert KMeans(3, random_state=0).fit(scaled).get_feature_names_out().tolist() == [
        "kmeans0",
        "kmeans1",
        "kmeans2",
    ]
    model = Ridge().fit(frame, y)
    assert model.model_.features == tuple(frame.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"ash": "cash"}))


def test_a_column_transformer_hands_over_columns() -> None:
    frame, y = load_wine(return_X_y=True, as_frame=True)
    chosen = make_column_transformer((StandardScaler(), ["alcohol", "ash"]), (PCA(2), ["hue", "flavanoids"]))
    assert make_pipeline(chosen, SVC()).fit(frame, y).score(frame, y) > 0.85


def test_what_is_not_supported_is_refused_and_says_what_is() -> None:
    X, y = load_iris(return_X_y=True)
    for estimator, problem in (
        (
            Ridge(positive=True),
            "positive: True is not supported; only False is: coefficients may have any sign",
        ),
        (Ridge(alpha=-1), "alpha: -1 is not supported; it must be a number at least 0"),
        (LogisticRegression(solver="saga"), "solver: 'saga' is not supported; it must be one of: 'lbfgs'"),
        (LogisticRegression(warm_start=True), "warm_start: True is not supported"),
        (LogisticRegression(class_weight={5: 2.0}), "class_weight: 5 is none of the classes: 0, 1, 2"),
        (KMeans(200), "n_samples=150 should be >= n_clusters=200"),
        (KMeans(init=X[:3]), r"init: its shape \(3, 4\) does not match n_clusters=8"),
        (SVC(kernel="precomputed"), "kernel: 'precomputed' is not supported; it must be one of: 'rbf'"),
        (Ridge(cluster=7), "cluster: 7 is not allowed; a host:port"),
    ):
        with pytest.raises(InvalidParameter, match=problem):
            estimator.fit(X, y)
    with pytest.raises(InvalidParameter, match="target: 'y' names a column of files, and X is no file"):
        Ridge().fit(X, y, target="y")
    with pytest.raises(Unavailable):
        Ridge(cluster="127.0.0.1:1").fit(X, y)
    with pytest.raises(Conflict, match="has not been started"):
        Ridge(cluster=LocalCluster(1)).fit(X, y)


# ---- data that only workers read


def test_files_are_trained_on_where_they_are(cluster: LocalCluster, tmp_path: Path) -> None:
    frame, y = load_breast_cancer(return_X_y=True, as_frame=True)
    frame["malignant"] = np.where(y == 0, "yes", "no")
    frame["importance"] = 1.0 + (np.arange(len(y)) % 3)
    for part in range(3):
        frame[part::3].to_parquet(tmp_path / f"{part}.parquet")
    chosen = ["mean radius", "mean texture"]
    stored = LogisticRegression(cluster=cluster, solver="auto").fit(
        str(tmp_path / "*.parquet"), target="malignant", weight="importance", features=chosen
    )
    in_memory = LogisticRegression(cluster=cluster, solver="auto").fit(
        frame[chosen], frame["malignant"], frame["importance"]
    )
    assert stored.feature_names_in_.tolist() == chosen
    assert stored.classes_.tolist() == ["no", "yes"]
    np.testing.assert_allclose(stored.coef_, in_memory.coef_, rtol=1e-6)
    assert stored.predict(frame[chosen])[:5].tolist() == in_memory.predict(frame[chosen])[:5].tolist()
    clusters = KMeans(2, cluster=cluster, random_state=0).fit(tmp_path, target="malignant")
    assert not hasattr(clusters, "labels_")
    assert clusters.n_features_in_ == 31


def test_files_of_many_classes_and_weights_by_class(cluster: LocalCluster, tmp_path: Path) -> None:
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    np.savez(tmp_path / "wine.npz", X=X, y=y)
    heavy = {0: 1.0, 1: 2.0, 2: 1.5}
    for class_weight in (None, "balanced", heavy):
        model = LogisticRegression(cluster=cluster, class_weight=class_weight, solver="auto", tol=1e-8)
        stored = model.fit(tmp_path / "wine.npz").coef_
        np.testing.assert_allclose(stored, model.fit(X, y).coef_, rtol=1e-5, atol=1e-7)
    assert not hasattr(model.fit(str(tmp_path / "wine.npz")), "feature_names_in_")


def test_files_and_arrays_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="y: can't be an array beside files; target= names a column"):
        Ridge().fit("data.parquet", [1, 2])
    with pytest.raises(JobFailed, match="no such file or directory"):
        Ridge().fit(str(tmp_path / "nothing.parquet"), target="y")


def test_an_upload_serves_many_fits(cluster: LocalCluster) -> None:
    X, y = load_diabetes(return_X_y=True)
    with cluster.client() as client, client.upload(X, y) as data:
        coefficients = [Ridge(alpha, cluster=client).fit(data).coef_ for alpha in (0.1, 1.0)]
        assert len(uploads(cluster)) == 1
    assert uploads(cluster) == []
    np.testing.assert_allclose(coefficients[1], Ridge(cluster=cluster).fit(X, y).coef_)


# ---- clusters that are elsewhere


def test_a_cluster_at_an_address_is_sent_the_data(cluster: LocalCluster) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    names = np.array(["malignant", "benign"])[y]
    sent = LogisticRegression(cluster=cluster.address, solver="auto").fit(X, names)
    np.testing.assert_array_equal(
        sent.coef_, LogisticRegression(cluster=cluster, solver="auto").fit(X, names).coef_
    )
    assert uploads(cluster) == []
    job = sent.job_
    assert (job.id, job.view().state) == (sent.job_id_, JobState.COMPLETED)
    big = np.random.default_rng(0).standard_normal((40_000, 20))
    assert LinearRegression(cluster=cluster.address).fit(big, big[:, 0]).coef_[0] == pytest.approx(1.0)
    assert uploads(cluster) == []


def test_workers_that_can_not_read_uploads_say_what_is_missing(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True)
    with (
        LocalCluster(workers=1) as cluster,
        Client(cluster.address, upload_uri="memory://nowhere") as client,
        pytest.raises(JobFailed, match="no such file"),
    ):
        Ridge(cluster=client).fit(X, y)


def test_a_fit_that_is_interrupted_cancels_its_job_and_removes_its_data(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(job: Job, timeout_s: float | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "result", interrupted)
    X = np.random.default_rng(0).standard_normal((50_000, 20))
    with pytest.raises(KeyboardInterrupt):
        KMeans(20, cluster=cluster, tol=0.0).fit(X)
    with cluster.client() as client:
        job = client.jobs()[0]
        assert (job.state, job.reason) == (JobState.CANCELLED, "the call that waited for it was interrupted")
    assert uploads(cluster) == []


# ---- threads, forks and the end


def test_two_threads_train_at_once() -> None:
    X, y = load_iris(return_X_y=True)
    found: dict[int, float] = {}

    def train(n_neighbors: int) -> None:
        found[n_neighbors] = KNeighborsClassifier(n_neighbors).fit(X, y).score(X, y)

    threads = [threading.Thread(target=train, args=(k,)) for k in (1, 5, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(found) == {1, 5, 9}
    assert found[1] == 1.0


SCRIPT = """
import os, sys
import numpy as np
from gradloom.estimators.clusters import _connections
from gradloom.linear_model import Ridge

def embedded():
    cluster = _connections().embedded
    return [cluster.coordinator.pid, *(worker.pid for worker in cluster.workers)], str(cluster.data_dir)

X = np.arange(60.0).reshape(20, 3) % 7
y = X @ [1.0, 2.0, 3.0]
first = Ridge().fit(X, y)
print(*embedded()[0], embedded()[1], flush=True)
if "fork" in sys.argv:
    inherited = _connections().embedded
    child = os.fork()
    assert inherited.coordinator.stdin.closed == (child == 0)  # or it would outlive its owner
    again = Ridge().fit(X, y)
    assert np.array_equal(again.coef_, first.coef_)
    if not child:
        print(*embedded()[0], embedded()[1], flush=True)
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    Ridge().fit(X, y)
if "crash" in sys.argv:
    raise SystemExit("an error of the user's own")
"""


@pytest.mark.parametrize("how", ["fork", "crash"])
def test_nothing_is_left_when_the_interpreter_ends(how: str) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT, how],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == (1 if how == "crash" else 0), run.stderr
    lines = [line.split() for line in run.stdout.splitlines()]
    assert len(lines) == (2 if how == "fork" else 1)
    for *pids, folder in lines:
        assert not any(psutil.pid_exists(int(pid)) for pid in pids)
        assert not Path(folder).exists()
    assert len({folder for *_, folder in lines}) == len(lines)


def test_an_embedded_cluster_that_died_is_replaced() -> None:
    from gradloom.estimators.clusters import _connections

    X, y = load_iris(return_X_y=True)
    Ridge().fit(X, y)
    first: Any = _connections().embedded
    first.kill_coordinator()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Ridge().fit(X, y)
    assert _connections().embedded is not first
