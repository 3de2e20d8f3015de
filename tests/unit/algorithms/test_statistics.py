"""Statistics of columns, cells without a value left out: StandardScaler's twin."""

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.preprocessing import StandardScaler

from gradloom.algorithms import build
from gradloom.data.manifest import Columns
from gradloom.data.preparation import Split, prepare
from gradloom.data.profile import profile_shard
from gradloom.data.profile_schema import schema_from_profile
from gradloom.data.shard import RawShard
from gradloom.errors import DataError, InvalidInput
from gradloom.models import Statistics
from tests.unit.algorithms.training import Data, train

Floats = NDArray[np.float64]
CANCER = load_breast_cancer().data


def statistics(X: Floats, weight: Floats | None = None, n_shards: int = 5, **settings: object) -> Statistics:
    model = train(build("statistics", settings), Data(X, np.zeros(len(X)), weight), n_shards)
    assert isinstance(model, Statistics)
    return model


def with_holes(X: Floats) -> Floats:
    holes = np.random.default_rng(0).random(X.shape) < 0.2
    holes[:30, 1] = True  # a whole shard without a value
    return np.where(holes, np.nan, X)


@pytest.mark.parametrize("holes", [False, True], ids=["whole", "with missing cells"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_it_is_the_standard_scaler(holes: bool, weighted: bool, offset: float) -> None:
    X = (with_holes(CANCER) if holes else CANCER) + offset
    weight = np.random.default_rng(1).uniform(0.1, 3.0, len(X)) if weighted else None
    model, twin = statistics(X, weight), StandardScaler().fit(X, sample_weight=weight)
    np.testing.assert_allclose(model.mean, twin.mean_, rtol=1e-12)
    np.testing.assert_allclose(model.variance, twin.var_, rtol=1e-9 if offset == 0 else 1e-5)
    there = ~np.isnan(X)
    np.testing.assert_array_equal(model.count, there.sum(axis=0))
    np.testing.assert_array_equal(model.missing, (~there).sum(axis=0))
    np.testing.assert_array_equal(model.minimum, np.nanmin(X, axis=0))
    np.testing.assert_array_equal(model.maximum, np.nanmax(X, axis=0))
    s = np.ones(len(X)) if weight is None else weight
    np.testing.assert_allclose(model.weight, s @ there, rtol=1e-12)
    if offset == 0:
        np.testing.assert_allclose(model.transform(X), twin.transform(X), rtol=1e-8, atol=1e-10)


def test_variances_keep_their_digits_far_from_the_origin() -> None:
    X = np.random.default_rng(0).standard_normal((1000, 4))
    model = statistics(X + 1e8, n_shards=9)
    np.testing.assert_allclose(model.variance, (X + 1e8).var(axis=0), rtol=1e-7)


def test_the_model_is_a_fitted_scaler_for_scikit_learn() -> None:
    X = with_holes(CANCER)
    model = statistics(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # X has no feature names
        np.testing.assert_allclose(model.to_sklearn().transform(X), model.transform(X), rtol=1e-12)
    assert model.scores(X)["mean_squared_score"] == pytest.approx(1.0, rel=1e-12)


def test_a_constant_column_keeps_its_scale_and_an_empty_one_is_all_zeros() -> None:
    X = np.stack([np.full(50, 7.3), np.arange(50.0), np.full(50, np.nan)], axis=1)
    model = statistics(X)
    assert model.scale.tolist() == [1.0, pytest.approx(np.arange(50.0).std()), 1.0]
    assert [model.minimum[0], model.maximum[0], model.mean[0]] == [7.3, 7.3, pytest.approx(7.3)]
    assert [a[2] for a in model.arrays.values()] == [0.0, 50.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_missing_cells_are_refused_by_all_other_algorithms() -> None:
    raw = RawShard(0, 0, with_holes(CANCER)[:60], None, None)
    columns = Columns(tuple(f"x{j}" for j in range(30)), None, None)
    with pytest.raises(DataError, match="column 'x0': row 5 has no value"):
        schema_from_profile(profile_shard(raw, Split()), columns, build("kmeans").needs, Split())
    schema = schema_from_profile(profile_shard(raw, Split()), columns, build("statistics").needs, Split())
    assert np.isnan(prepare(raw, schema.preparation).train.X).any()


def test_infinite_cells_are_refused() -> None:
    raw = RawShard(0, 0, np.array([[1.0], [np.inf]]), None, None)
    with pytest.raises(DataError, match="column 'x': row 1 is infinite"):
        schema_from_profile(
            profile_shard(raw, Split()), Columns(("x",), None, None), build("statistics").needs, Split()
        )
    with pytest.raises(InvalidInput, match="row 0 is infinite in column 'x0'"):
        statistics(load_wine().data).transform(np.full((1, 13), np.inf))
