"""Layouts, starting weights, and the activations one by one."""

from math import erf, sqrt

import numpy as np
import pytest

from gradloom.networks import ACTIVATIONS, Layout


def test_a_layout_is_views_that_cover_the_vector() -> None:
    layout = Layout((3, 4, 2))
    vector = np.arange(layout.n_parameters, dtype=np.float64)
    layers = layout.split(vector)
    assert layout.n_parameters == 3 * 4 + 4 + 4 * 2 + 2
    assert [(layer.weights.shape, layer.bias.shape) for layer in layers] == [((3, 4), (4,)), ((4, 2), (2,))]
    np.testing.assert_array_equal(np.concatenate([part.ravel() for one in layers for part in one]), vector)
    layers[1].bias[0] = -1.0
    assert vector[-2] == -1.0


def test_starting_weights_keep_the_variance_and_belong_to_the_seed() -> None:
    layout = Layout((400, 300, 200, 10))
    vector = layout.initial(7, 2.0)
    for layer, gain in zip(layout.split(vector), (2.0, 2.0, 1.0), strict=True):
        fan_in = layer.weights.shape[0]
        assert layer.weights.std() == pytest.approx(sqrt(gain / fan_in), rel=0.03)
        assert abs(layer.weights.mean()) < 0.1 * layer.weights.std()
        assert not layer.bias.any()
    np.testing.assert_array_equal(layout.initial(7, 2.0), vector)
    assert np.mean(layout.initial(8, 2.0) == vector) < 0.01


def test_gelu_is_the_exact_one() -> None:
    z = np.linspace(-12.0, 12.0, 10_001)
    value, slope = z.copy(), np.empty_like(z)
    ACTIVATIONS["gelu"].apply(value, slope)
    phi = np.array([0.5 * (1.0 + erf(x / sqrt(2.0))) for x in z])
    assert np.abs(value - z * phi).max() < 1e-11
    assert np.abs(slope - (phi + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi))).max() < 1e-11


@pytest.mark.parametrize("name", list(ACTIVATIONS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_activation_works_in_place_and_never_overflows(name: str, dtype: str) -> None:
    z = np.array([-1e4, -1.0, 0.0, 1.0, 1e4], dtype=dtype)
    value, slope = z.copy(), np.full_like(z, np.nan)
    ACTIVATIONS[name].apply(value, slope)
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()
    alone = z.copy()
    ACTIVATIONS[name].apply(alone, None)
    np.testing.assert_array_equal(alone, value)
    assert value.dtype == slope.dtype == np.dtype(dtype)


def test_the_values_of_the_activations() -> None:
    z = np.array([-2.0, 0.5])
    expected = {
        "relu": [0.0, 0.5],
        "tanh": np.tanh(z),
        "logistic": 1 / (1 + np.exp(-z)),
        "identity": z,
        "gelu": [-2.0 * 0.022750131948179, 0.5 * 0.691462461274013],
    }
    for name, values in expected.items():
        got = z.copy()
        ACTIVATIONS[name].apply(got, None)
        np.testing.assert_allclose(got, values, rtol=1e-9)
