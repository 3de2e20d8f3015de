"""Principal components are scikit-learn's: directions, signs, variances, coordinates."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA

from gradloom.algorithms import build
from gradloom.errors import DataError, InvalidInput
from gradloom.models import Components
from tests.unit.algorithms.training import Data, schema_of, train, train_state

Floats = NDArray[np.float64]
SETS: dict[str, Floats] = {
    "digits": load_digits().data,
    "iris": load_iris().data,
    "breast_cancer": load_breast_cancer().data,
    "wine, far away": load_wine().data + 1e5,
    "few rows": load_digits().data[:40],
}


def components(X: Floats, weight: Floats | None = None, n_shards: int = 5, **settings: object) -> Components:
    model = train(build("pca", settings), Data(X, np.zeros(len(X)), weight), n_shards)
    assert isinstance(model, Components)
    return model


def assert_same(model: Components, twin: Any, X: Floats, digits: float = 1e-6) -> None:
    """All but directions of no variance, which are any."""
    m = int((twin.explained_variance_ > 1e-9 * twin.explained_variance_[0]).sum())
    assert len(model.components) == twin.n_components_
    assert model.settings["whiten"] == twin.whiten
    np.testing.assert_allclose(model.mean, twin.mean_, rtol=1e-3 * digits)
    np.testing.assert_allclose(model.components[:m], twin.components_[:m], atol=digits)
    for name in ("explained_variance", "explained_variance_ratio", "singular_values"):
        np.testing.assert_allclose(
            getattr(model, name)[:m], getattr(twin, f"{name}_")[:m], rtol=digits, err_msg=name
        )
    scale = float(twin.explained_variance_[0])
    assert float(model.noise_variance) == pytest.approx(twin.noise_variance_, rel=digits, abs=1e-12 * scale)
    size = float(np.abs(twin.transform(X)[:, :m]).max())
    np.testing.assert_allclose(model.transform(X)[:, :m], twin.transform(X)[:, :m], atol=digits * size)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("n_components", ["all", 2, 0.95])
@pytest.mark.parametrize("whiten", [False, True], ids=["plain", "whitened"])
def test_the_components_are_those_of_the_singular_value_decomposition(
    name: str, n_components: str | float, whiten: bool
) -> None:
    X = SETS[name]
    n = None if n_components == "all" else n_components
    twin = PCA(n, whiten=whiten, svd_solver="full").fit(X)
    assert_same(components(X, n_components=n_components, whiten=whiten), twin, X)


def test_float32_rows_are_centred_before_they_are_cast() -> None:
    X = SETS["wine, far away"]
    twin = PCA(5, svd_solver="full").fit(X)
    assert_same(components(X, n_components=5, dtype="float32"), twin, X, digits=1e-5)


def test_the_randomized_solver_finds_directions_that_stand_out() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 6)) * 3.0 ** np.arange(6, 0, -1) @ rng.standard_normal((6, 120))
    X += 0.01 * rng.standard_normal(X.shape) + 50.0
    twin = PCA(4, svd_solver="full").fit(X)
    assert_same(components(X, n_components=4, solver="randomized"), twin, X)


def test_the_randomized_solver_comes_near_on_real_data() -> None:
    X = SETS["digits"]
    exact, near = components(X, n_components=10), components(X, n_components=10, solver="randomized")
    np.testing.assert_allclose(near.explained_variance, exact.explained_variance, rtol=2e-3)
    assert near.metadata["rounds"] == 6
    assert components(X, n_components=5, solver="randomized").metadata["rounds"] == 9
    assert float(near.total_variance) == pytest.approx(float(exact.total_variance), rel=1e-12)
    assert float(near.noise_variance) == pytest.approx(float(exact.noise_variance), rel=1e-2)


def test_more_rounds_come_nearer() -> None:
    X = SETS["digits"]
    exact = components(X, n_components=8)
    errors = []
    for power_iterations in (0, 4, 30):
        given = {"n_components": 8, "solver": "randomized", "power_iterations": power_iterations}
        errors.append(np.abs(np.abs(components(X, **given).components) - np.abs(exact.components)).max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-8


def test_very_many_columns_go_to_the_randomized_solver_by_themselves() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 3)) * [9.0, 6.0, 4.0] @ rng.standard_normal((3, 4097))
    X += rng.standard_normal(X.shape)
    model = components(X, n_components=3)
    assert model.metadata["stopped"] == "3 components found (randomized)"
    assert_same(model, PCA(3, svd_solver="full").fit(X), X)


@pytest.mark.parametrize("solver", ["gram", "randomized"])
def test_a_row_of_weight_two_is_two_rows(solver: str) -> None:
    X = SETS["iris"]
    weight = np.random.default_rng(0).integers(0, 4, len(X)).astype(np.float64)
    given = {"n_components": 3, "solver": solver}
    model = components(X, weight, **given)
    twin = PCA(3, svd_solver="full").fit(np.repeat(X, weight.astype(int), axis=0))
    np.testing.assert_allclose(model.components, twin.components_, atol=1e-9)
    np.testing.assert_allclose(model.explained_variance, twin.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(model.mean, twin.mean_, rtol=1e-12)


def test_coordinates_lead_back_to_the_rows() -> None:
    X = SETS["iris"]
    for whiten in (False, True):
        whole, part = components(X, whiten=whiten), components(X, n_components=2, whiten=whiten)
        np.testing.assert_allclose(whole.inverse_transform(whole.transform(X)), X, rtol=1e-10)
        twin = PCA(2, whiten=whiten).fit(X)
        back = twin.inverse_transform(twin.transform(X))
        np.testing.assert_allclose(part.inverse_transform(part.transform(X)), back, rtol=1e-9)
        error = float(np.square(X - back).sum(axis=1).mean())
        scores = part.scores(X)
        assert scores["reconstruction_error"] == pytest.approx(error, rel=1e-9)
        assert scores["explained_variance_ratio"] == pytest.approx(twin.explained_variance_ratio_.sum())


def test_the_model_is_a_fitted_pca_for_scikit_learn() -> None:
    X = SETS["digits"]
    model = components(X, n_components=6, whiten=True)
    estimator, twin = model.to_sklearn(), PCA(6, whiten=True, svd_solver="full").fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # X has no feature names
        np.testing.assert_allclose(estimator.transform(X), twin.transform(X), atol=1e-9)
        np.testing.assert_allclose(estimator.score_samples(X), twin.score_samples(X), rtol=1e-9)


def test_rows_that_do_not_vary_have_components_without_variance() -> None:
    model = components(np.ones((10, 3)))
    np.testing.assert_array_equal(model.explained_variance, 0.0)
    np.testing.assert_array_equal(model.explained_variance_ratio, 0.0)
    assert np.isfinite(model.transform(np.ones((2, 3)))).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"n_components": 5},
            "n_components: 5 is more than there can be, 4, of 150 train rows and 4 columns",
        ),
        (
            {"n_components": 0},
            "n_components: 0 is not allowed; it must be all, a whole number from 1, or a share",
        ),
        ({"n_components": "1.5"}, "n_components: 1.5 is not allowed"),
        ({"n_components": "mle"}, "n_components: 'mle' is not allowed"),
        ({"solver": "randomized"}, "n_components: 'all' needs solver=gram or auto"),
        ({"solver": "randomized", "n_components": 0.5}, "n_components: 0.5 needs solver=gram or auto"),
        ({"solver": "gram", "oversamples": 3}, "oversamples: means nothing to solver=gram"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        components(SETS["iris"], **settings)


def test_settings_as_text_mean_what_they_say() -> None:
    X = SETS["iris"]
    assert len(components(X, n_components="3").components) == 3
    assert len(components(X, n_components="0.95").components) == 2
    assert len(components(X, n_components="all", power_iterations="none").components) == 4


def test_data_without_a_variance_is_refused() -> None:
    with pytest.raises(DataError, match="data: has 1 train rows; a variance needs two"):
        train_state(build("pca"), Data(np.ones((1, 2)), np.zeros(1)), 1)
    with pytest.raises(DataError, match=r"weight: the train rows weigh 0\.5"):
        components(np.eye(2), np.array([0.25, 0.25]))


@pytest.mark.parametrize(
    ("d", "settings", "message"),
    [
        (
            8193,
            {"solver": "gram", "n_components": 2},
            r"solver: gram needs 0\.5 GiB a shard for 8193 columns",
        ),
        (
            8193,
            {},
            "n_components: 'all' of 100000 rows and 8193 columns takes too much memory; a whole number",
        ),
        (
            30_000,
            {"n_components": 0.9},
            r"n_components: 0\.9 of 100000 rows and 30000 columns takes too much",
        ),
    ],
)
def test_a_matrix_that_is_too_large_is_refused_before_it_is_made(
    d: int, settings: dict[str, object], message: str
) -> None:
    algorithm = build("pca", settings)
    schema = schema_of(Data(np.eye(3, d), np.zeros(3)), algorithm.needs)
    with pytest.raises(InvalidInput, match=message):
        algorithm.start(replace(schema, train_rows=100_000))


@pytest.mark.parametrize("wanted", ["all", 0.9])
def test_all_components_of_few_rows_with_very_many_columns(wanted: object) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 9000)) * np.linspace(1.0, 3.0, 30)[:, np.newaxis] + 5.0
    model = components(X, n_components=wanted)
    assert_same(model, PCA(None if wanted == "all" else wanted, svd_solver="full").fit(X), X)


def test_a_model_refuses_what_it_cannot_transform() -> None:
    model = components(SETS["iris"])
    with pytest.raises(InvalidInput, match="row 0 holds a value in column 'x1' that is not finite"):
        model.transform([[1.0, np.inf, 1.0, 1.0]])
    with pytest.raises(InvalidInput, match=r"T: has the shape \(2, 3\); needed are rows of 4 coordinates"):
        model.inverse_transform(np.ones((2, 3)))
    assert model.scores(np.zeros((0, 4))) == {}
