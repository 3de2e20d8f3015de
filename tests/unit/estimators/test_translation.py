"""What estimators make of their parameters, and of what is learnt; models are trained in memory, without a cluster."""

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import decomposition
from sklearn.cluster import KMeans as KMeansTwin
from sklearn.cluster import MiniBatchKMeans as MiniBatchTwin
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.naive_bayes import MultinomialNB as MultinomialTwin
from sklearn.neighbors import NearestNeighbors as NeighborsTwin

from gradloom.algorithms import build
from gradloom.cluster import KMeans, MiniBatchKMeans
from gradloom.decomposition import PCA
from gradloom.errors import InvalidParameter
from gradloom.estimators.asking import refusals_as_value_errors
from gradloom.estimators.data import Given, InMemory
from gradloom.estimators.estimator import ClusterEstimator, Settings
from gradloom.models import Model
from gradloom.naive_bayes import MultinomialNB
from gradloom.neighbors import NearestNeighbors
from tests.unit.algorithms.training import Data, train

IRIS: NDArray[Any] = load_iris().data


def in_memory(
    self: ClusterEstimator, kind: type[Model], algorithm: str, settings: Settings, given: Given
) -> Model:
    """What ``_train`` does, on shards in memory."""
    del kind
    assert isinstance(given, InMemory)
    y = np.zeros(len(given.X)) if given.y is None else given.y
    with refusals_as_value_errors():
        self.model_ = train(build(algorithm, settings), Data(given.X, y, given.sample_weight), 3)
    return self.model_


@pytest.fixture(autouse=True)
def _without_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClusterEstimator, "_train", in_memory)


@pytest.mark.parametrize("patience", [None, 0])
def test_mini_batches_take_as_many_steps_as_those_of_scikit_learn(patience: int | None) -> None:
    given = {"batch_size": 40, "max_iter": 3, "max_no_improvement": patience, "random_state": 0}
    mine, twin = (kind(3, n_init=1, **given).fit(IRIS) for kind in (MiniBatchKMeans, MiniBatchTwin))
    assert mine.n_steps_ == twin.n_steps_


def test_first_centers_may_be_many_numbers() -> None:
    X = np.random.default_rng(0).normal(size=(500, 600))
    given: dict[str, Any] = {"init": X[:100], "n_init": 1, "max_iter": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mine, twin = (kind(100, **given).fit(X) for kind in (KMeans, KMeansTwin))
    np.testing.assert_array_equal(mine.labels_, twin.labels_)


def test_first_centers_that_are_too_many_numbers_are_refused_by_their_own_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gradloom.estimators.kmeans.MAX_TEXT", 100)
    with pytest.raises(InvalidParameter, match=r"^init: 40 numbers are more than can be sent") as refused:
        KMeans(10, init=IRIS[:10], n_init=1).fit(IRIS)
    assert len(str(refused.value)) < 200


def test_fewer_different_rows_than_clusters_come_with_a_warning() -> None:
    X = np.repeat(IRIS[:3], 5, axis=0)
    with pytest.warns(
        ConvergenceWarning, match=r"distinct clusters \(3\) found smaller than n_clusters \(4\)"
    ):
        KMeans(4, random_state=0).fit(X)


def test_neighbours_of_lists_are_rows_however_many_are_wanted() -> None:
    X = np.r_[IRIS[:, :3], IRIS[:, :3] + 1e3]
    mine, twin = (
        NearestNeighbors(n_neighbors=40, algorithm="ivf").fit(X),
        NeighborsTwin(n_neighbors=40).fit(X),
    )
    graph = mine.kneighbors_graph(X)
    assert graph.indices.max() < len(X)
    assert graph.shape == twin.kneighbors_graph(X).shape


def test_all_components_of_more_columns_than_a_matrix_takes() -> None:
    X = np.random.default_rng(0).normal(size=(12, 8200))
    mine, twin = PCA().fit(X), decomposition.PCA().fit(X)
    np.testing.assert_allclose(mine.explained_variance_[:-1], twin.explained_variance_[:-1], rtol=1e-9)


def test_what_sharpens_random_directions_is_passed_on_by_auto_too() -> None:
    X = np.random.default_rng(0).normal(size=(40, 4100))
    settings = PCA(3, n_oversamples=2, iterated_power=1, random_state=0).fit(X).model_.settings
    assert (settings["oversamples"], settings["power_iterations"], settings["solver"]) == (2, 1, "auto")


def test_components_are_refused_in_the_words_of_the_estimator() -> None:
    with pytest.raises(InvalidParameter, match="n_components: None needs svd_solver='auto' or 'full'"):
        PCA(svd_solver="randomized").fit(IRIS)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_counts_of_features_and_a_smoothing_of_nothing(alpha: float) -> None:
    X, y = load_digits(return_X_y=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mine = MultinomialNB(alpha=alpha).fit(X, y)
    assert [str(w.message)[:15] for w in caught] == (["alpha too small"] if alpha == 0 else [])
    twin = MultinomialTwin(alpha=max(alpha, 1e-10)).fit(X, y)
    np.testing.assert_allclose(mine.feature_count_, twin.feature_count_)
    np.testing.assert_allclose(mine.feature_log_prob_, twin.feature_log_prob_)
    np.testing.assert_allclose(mine.to_sklearn().feature_count_, twin.feature_count_)
