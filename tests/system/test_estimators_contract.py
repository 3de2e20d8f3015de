"""Every estimator passes scikit-learn's own checks, on a real cluster that all of them share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from gradloom.cluster import KMeans, MiniBatchKMeans
from gradloom.decomposition import PCA
from gradloom.estimators.clusters import close_embedded
from gradloom.linear_model import (
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
    SGDRegressor,
)
from gradloom.naive_bayes import GaussianNB, MultinomialNB
from gradloom.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors
from gradloom.neural_network import MLPClassifier, MLPRegressor
from gradloom.preprocessing import StandardScaler
from gradloom.svm import SVC, LinearSVC

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings(
        "ignore::sklearn.exceptions.ConvergenceWarning"
    ),  # rounds are few, as checks are many
]

NETWORK = {"max_iter": 12, "learning_rate_init": 0.02}
CLUSTERS = {"n_clusters": 2, "n_init": 2, "max_iter": 5}
STEPS = {"max_iter": 5}
ESTIMATORS = [
    LinearRegression(),
    Ridge(),
    Lasso(),
    ElasticNet(),
    LogisticRegression(),
    SGDClassifier(**STEPS),
    SGDRegressor(eta0=0.1, **STEPS),
    HuberRegressor(max_iter=5),
    PoissonRegressor(),
    LinearSVC(),
    SVC(),
    KMeans(**CLUSTERS),
    MiniBatchKMeans(batch_size=20, **{**CLUSTERS, "max_iter": 2}),
    KNeighborsClassifier(n_neighbors=2),
    KNeighborsRegressor(n_neighbors=2),
    NearestNeighbors(),
    MLPClassifier(**NETWORK),
    MLPRegressor(**NETWORK),
    GaussianNB(),
    MultinomialNB(),
    PCA(),
    StandardScaler(),
    StandardScaler(with_mean=False),
]
"""With fewer rounds where scikit-learn tests its own with fewer, too."""

STOCHASTIC = "as in scikit-learn: rows that are drawn or shuffled are others once one of them is there twice"
TOLERANT = "as in scikit-learn: it stops at a tolerance, which other rows reach at another point"
EXPECTED: dict[str, str] = {
    "KMeans": STOCHASTIC,
    "MiniBatchKMeans": STOCHASTIC,
    "SGDClassifier": STOCHASTIC,
    "SGDRegressor": STOCHASTIC,
    "SVC": TOLERANT,
}
"""Why fitting with weights is not quite fitting with repeated rows; scikit-learn marks the same estimators."""


def expected_failures(estimator: Any) -> dict[str, str]:
    why = EXPECTED.get(type(estimator).__name__)
    kinds = ("dense", "sparse")
    return {f"check_sample_weight_equivalence_on_{kind}_data": why for kind in kinds} if why else {}


@pytest.fixture(scope="module", autouse=True)
def one_cluster() -> Iterator[None]:
    yield
    close_embedded()


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_the_contract(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
