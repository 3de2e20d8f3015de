"""Algorithms without a target on a real cluster: K-means is scikit-learn's, and its bits do not depend on workers."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from builders.shell import Shell
from gradloom import LocalCluster
from gradloom.models import Clusters, Components, Statistics

pytestmark = pytest.mark.system

K = 10


@pytest.fixture(scope="module")
def digits(data_dir: Path) -> Path:
    path = data_dir / "unlabelled.npy"
    np.save(path, load_digits().data)
    return path


def test_kmeans_from_given_centers_is_that_of_scikit_learn(cluster: LocalCluster, digits: Path) -> None:
    X = load_digits().data
    first = X[np.random.default_rng(0).choice(len(X), K, replace=False)]
    settings = {
        "n_clusters": K,
        "init": "given",
        "init_centers": json.dumps(first.tolist()),
        "dtype": "float64",
    }
    with cluster.client() as client:
        job = client.submit("kmeans", data=str(digits), shards=7, settings=settings)
        model = job.result(timeout_s=60)
    expected = KMeans(K, init=first, n_init=1).fit(X)
    assert isinstance(model, Clusters)
    assert model.metadata["iterations"] == expected.n_iter_
    assert model.metadata["inertia"] == pytest.approx(expected.inertia_, rel=1e-10)
    np.testing.assert_array_equal(model.predict(X), expected.labels_)


def test_components_and_statistics(cluster: LocalCluster, digits: Path) -> None:
    X = load_digits().data
    with cluster.client() as client:
        submitted = [client.submit(name, data=str(digits), shards=4) for name in ("pca", "statistics")]
        components, statistics = (job.result(timeout_s=60) for job in submitted)
    assert isinstance(components, Components)
    assert isinstance(statistics, Statistics)
    expected = PCA(svd_solver="full").fit(X)
    np.testing.assert_allclose(
        components.explained_variance[:50], expected.explained_variance_[:50], rtol=1e-9
    )
    np.testing.assert_array_equal(statistics.maximum, X.max(axis=0))


def test_seeded_clusters_have_the_same_bits_from_one_worker_of_the_command_line_as_from_two(
    cluster: LocalCluster, shell: Shell, digits: Path, tmp_path: Path
) -> None:
    settings = {"n_clusters": K, "n_init": 3, "max_rounds": 8}
    with cluster.client() as client:
        job = client.submit(
            "kmeans", data=str(digits), shards=8, seed=5, test_fraction=0.2, settings=settings
        )
        expected = job.wait(60.0)
    assert expected.scores.keys() == {"test_inertia", "test_mean_squared_distance"}
    model, out = tmp_path / "clusters.model", tmp_path / "labels.csv"
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    words += ["--shards", "8", "--seed", "5", "--test-fraction", "0.2", "--workers", "1", "--out", str(model)]
    told = shell.json("train", "kmeans", "--data", str(digits), *words)
    assert told["parameters_sha256"] == expected.parameters_sha256 != ""
    shell.text("predict", str(model), "--data", str(digits), "--out", str(out))
    labels = np.loadtxt(out, skiprows=1)
    assert len(labels) == 1797
    assert set(np.unique(labels)) == set(range(K))
