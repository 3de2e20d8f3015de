"""Naive Bayes is scikit-learn's: parameters, probabilities, and what is refused."""

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.naive_bayes import GaussianNB, MultinomialNB

from gradloom.algorithms import build
from gradloom.data.manifest import Columns
from gradloom.data.preparation import Split
from gradloom.data.profile import profile_shard
from gradloom.data.profile_schema import schema_from_profile
from gradloom.data.shard import RawShard
from gradloom.errors import DataError, InvalidInput
from gradloom.models import NaiveBayes, model_from_bytes
from tests.unit.algorithms.training import Data, train

Floats = NDArray[np.float64]
SETS = {"digits": load_digits, "iris": load_iris, "breast_cancer": load_breast_cancer, "wine": load_wine}


def shuffled(name: str, weighted: bool) -> Data:
    X, y = SETS[name](return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(X))
    return Data(X[order], y[order], rng.uniform(0.1, 3.0, len(X)) if weighted else None)


def trained(algorithm: str, data: Data, n_shards: int = 5, **settings: object) -> NaiveBayes:
    model = train(build(algorithm, settings), data, n_shards)
    assert isinstance(model, NaiveBayes)
    return model


def assert_predicts_as(model: NaiveBayes, twin: Any, X: Floats) -> None:
    np.testing.assert_allclose(model.predict_log_proba(X), twin.predict_log_proba(X), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(model.predict_proba(X), twin.predict_proba(X), rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(model.predict(X), twin.predict(X))


weights = pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])


@pytest.mark.parametrize("name", SETS)
@weights
@pytest.mark.parametrize("priors", [False, True], ids=["learnt", "given"])
def test_gaussian(name: str, weighted: bool, priors: bool) -> None:
    data = shuffled(name, weighted)
    k = len(np.unique(data.y))
    given = np.arange(1.0, k + 1) / np.arange(1.0, k + 1).sum() if priors else None
    smoothing = 1e-4 if name == "digits" else 1e-9  # its constant columns would make numbers of size 1e9
    twin = GaussianNB(priors=given, var_smoothing=smoothing).fit(data.X, data.y, data.weight)
    text = {} if given is None else {"priors": ",".join(map(repr, given.tolist()))}
    model = trained("gaussian_nb", data, var_smoothing=smoothing, **text)
    np.testing.assert_allclose(model.means, twin.theta_, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.variances, twin.var_, rtol=1e-10)
    np.testing.assert_allclose(np.exp(model.log_priors), twin.class_prior_, rtol=1e-12)
    assert model.metadata["epsilon"] == pytest.approx(twin.epsilon_, rel=1e-10)
    assert_predicts_as(model, twin, data.X)


def test_gaussian_keeps_its_digits_where_means_are_large() -> None:
    data = shuffled("iris", weighted=True)
    near, far = (trained("gaussian_nb", Data(data.X + shift, data.y, data.weight)) for shift in (0.0, 1e6))
    np.testing.assert_allclose(far.variances, near.variances, rtol=1e-8)


@pytest.mark.parametrize("name", SETS)
@weights
@pytest.mark.parametrize("settings", [{}, {"alpha": 0.1, "fit_prior": False}, {"alpha": 0.0}], ids=str)
def test_multinomial(name: str, weighted: bool, settings: dict[str, Any]) -> None:
    data = shuffled(name, weighted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # alpha = 0 is raised, by us too
        twin = MultinomialNB(**{"force_alpha": False, **settings}).fit(data.X, data.y, data.weight)
    model = trained("multinomial_nb", data, **settings)
    np.testing.assert_allclose(model.log_probabilities, twin.feature_log_prob_, rtol=1e-10)
    np.testing.assert_allclose(model.to_sklearn().feature_count_, twin.feature_count_, rtol=1e-12)
    np.testing.assert_allclose(model.log_priors, twin.class_log_prior_, rtol=1e-12)
    assert_predicts_as(model, twin, data.X)


def test_priors_of_the_multinomial_model_can_be_given() -> None:
    data = shuffled("wine", weighted=False)
    twin = MultinomialNB(class_prior=[0.5, 0.3, 0.2]).fit(data.X, data.y)
    assert_predicts_as(trained("multinomial_nb", data, priors=[0.5, 0.3, 0.2]), twin, data.X)


@pytest.mark.parametrize("algorithm", ["gaussian_nb", "multinomial_nb"])
def test_the_model_is_a_fitted_estimator_for_scikit_learn(algorithm: str) -> None:
    data = shuffled("wine", weighted=True)
    model = trained(algorithm, data)
    estimator = model.to_sklearn()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # X has no feature names
        np.testing.assert_allclose(estimator.predict_proba(data.X), model.predict_proba(data.X), rtol=1e-9)
        np.testing.assert_array_equal(estimator.predict(data.X), model.predict(data.X))


def test_a_class_that_only_held_out_rows_have_is_never_predicted() -> None:
    data = shuffled("iris", weighted=False)
    weight = np.where(data.y == 1, 0.0, 1.0)
    for algorithm in ("gaussian_nb", "multinomial_nb"):
        model = trained(algorithm, Data(data.X, data.y, weight))
        assert model.log_priors[1] == -np.inf
        probabilities = model.predict_proba(data.X)
        np.testing.assert_array_equal(probabilities[:, 1], 0.0)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
        np.testing.assert_array_equal(
            model_from_bytes(model.to_bytes()).predict(data.X), model.predict(data.X)
        )
        assert set(np.unique(model.predict(data.X))) <= {0, 2}


def test_columns_that_are_constant_within_a_class_need_no_smoothing() -> None:
    X = np.array([[0.0, 1.0], [0.0, 2.0], [1.0, 1.0], [1.0, 2.5]])
    model = trained("gaussian_nb", Data(X, np.array([0.0, 0.0, 1.0, 1.0])), 2, var_smoothing=0.0)
    np.testing.assert_array_equal(model.predict(X), [0, 0, 1, 1])
    np.testing.assert_allclose(model.predict_proba(X).max(axis=1), 1.0)


def test_negative_counts_are_refused_with_the_column_and_the_row() -> None:
    X = np.ones((6, 3))
    X[4, 1], X[5, 1], X[5, 2] = -1.0, -2.0, -3.0
    raw = RawShard(0, 10, X, np.array([0.0, 1.0] * 3), None)
    columns = Columns(("a", "b", "c"), "kind", None)
    needs = build("multinomial_nb").needs
    profile = profile_shard(raw, Split(), nonnegative=needs.nonnegative)
    expected = r"column 'b': row 14 is negative; 2 of 6 rows are negative .* A count must be 0 or more"
    with pytest.raises(DataError, match=expected):
        schema_from_profile(profile, columns, needs, Split())
    gaussian = build("gaussian_nb").needs
    schema_from_profile(
        profile_shard(raw, Split(), nonnegative=gaussian.nonnegative), columns, gaussian, Split()
    )
    model = trained("multinomial_nb", shuffled("wine", weighted=False))
    bad = np.ones((3, 13))
    bad[1, 2] = -1
    with pytest.raises(InvalidInput, match="row 1 is negative in column 'x2'"):
        model.predict(bad)


@pytest.mark.parametrize(
    ("algorithm", "settings", "message"),
    [
        ("gaussian_nb", {"priors": "0.5,0.5"}, "priors: holds 2 numbers, where column 'y' has 3 classes"),
        ("gaussian_nb", {"priors": "0.5,0.6,0.1"}, "priors: '0.5,0.6,0.1' is not allowed; .* sum to 1"),
        ("gaussian_nb", {"priors": "a,b"}, "priors: 'a,b' is not allowed"),
        ("gaussian_nb", {"var_smoothing": -1}, "var_smoothing: -1 is not allowed"),
        ("multinomial_nb", {"alpha": -0.5}, "alpha: -0.5 is not allowed"),
        ("multinomial_nb", {"priors": "0.2,0.3,0.5", "fit_prior": False}, "fit_prior: false means"),
    ],
)
def test_what_makes_no_sense_is_refused(algorithm: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        trained(algorithm, shuffled("iris", weighted=False), **settings)
