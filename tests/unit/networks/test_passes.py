"""Forward and backward passes: exact slopes, sums over rows, and dropout that belongs to the row."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from gradloom.data.shard import Rows
from gradloom.networks import ACTIVATIONS, LOSSES, Architecture, Layout, Passes
from gradloom.networks.passes import BLOCK_ROWS, DropoutKey

OUTPUTS = {"softmax": 3, "logistic": 1, "squared": 1}
KEY = DropoutKey(seed=5, epoch=2)
every_network = pytest.mark.parametrize(
    ("activation", "loss", "dropout"), list(product(ACTIVATIONS, LOSSES, [0.0, 0.4])), ids=str
)


def network(activation: str = "relu", loss: str = "softmax", dropout: float = 0.0) -> Architecture:
    return Architecture(Layout((5, 8, 6, OUTPUTS[loss])), activation, loss, dropout)  # type: ignore[arg-type]


def rows_for(architecture: Architecture, n: int, dtype: str = "float64") -> Rows:
    rng = np.random.default_rng(3)
    targets = {
        "softmax": rng.integers(0, 3, n),
        "logistic": rng.integers(0, 2, n),
        "squared": rng.standard_normal(n),
    }
    X = rng.standard_normal((n, 5)).astype(dtype)
    return Rows(X, targets[architecture.loss], rng.uniform(0.5, 2.0, n), np.arange(n, dtype=np.int64) * 7)


def parameters_of(architecture: Architecture) -> NDArray[np.float64]:
    rng = np.random.default_rng(4)
    layout = architecture.layout
    return layout.initial(1, 2.0) + 0.1 * rng.standard_normal(layout.n_parameters)


def some(rows: Rows, chosen: slice | NDArray[np.intp]) -> Rows:
    weight = None if rows.weight is None else rows.weight[chosen]
    return Rows(np.ascontiguousarray(rows.X[chosen]), rows.y[chosen], weight, rows.positions[chosen])


@every_network
def test_the_gradient_is_the_slope_of_the_loss(activation: str, loss: str, dropout: float) -> None:
    architecture = network(activation, loss, dropout)
    rows, at = rows_for(architecture, 7), parameters_of(architecture)
    passes = Passes(architecture, np.dtype(np.float64), 7)
    gradient, h = passes.sums(rows, at, KEY).gradient, 1e-6

    def slope(direction: NDArray[np.float64]) -> float:
        losses = [passes.sums(rows, at + sign * h * direction, KEY).loss for sign in (1, -1)]
        return (losses[0] - losses[1]) / (2 * h)

    slopes = np.array([slope(direction) for direction in np.eye(len(at))])
    assert np.abs(gradient - slopes).max() < 1e-7 * np.abs(gradient).max()


@every_network
def test_loss_alone_is_the_loss_of_the_pass_with_gradient(activation: str, loss: str, dropout: float) -> None:
    architecture = network(activation, loss, dropout)
    rows, at = rows_for(architecture, 9), parameters_of(architecture)
    passes = Passes(architecture, np.dtype(np.float64), 9)
    sums = passes.sums(rows, at)
    assert passes.loss(rows, at) == (sums.loss, sums.weight)
    assert sums.weight == rows.weight.sum()  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_add_up_to_the_whole(dtype: str) -> None:
    architecture = network("tanh", "softmax", 0.3)
    n = 2 * BLOCK_ROWS + 7
    rows, at = rows_for(architecture, n, dtype), parameters_of(architecture)
    passes = Passes(architecture, rows.X.dtype, n)
    whole = passes.sums(rows, at, KEY)
    parts = [passes.sums(some(rows, slice(i, i + 100)), at, KEY) for i in range(0, n, 100)]
    digits = 1e-12 if dtype == "float64" else 1e-5
    gradient = sum(part.gradient for part in parts)
    np.testing.assert_allclose(
        gradient, whole.gradient, rtol=digits, atol=digits * np.abs(whole.gradient).max()
    )
    assert sum(part.loss for part in parts) == pytest.approx(whole.loss, rel=digits)
    assert whole.gradient.dtype == np.float64


def test_the_same_call_gives_the_same_bits_whatever_was_computed_before() -> None:
    architecture = network("gelu", "softmax", 0.5)
    rows, at = rows_for(architecture, 50, "float32"), parameters_of(architecture)
    fresh = Passes(architecture, rows.X.dtype, 50).sums(rows, at, KEY)
    used = Passes(architecture, rows.X.dtype, 900)
    used.sums(rows_for(architecture, 900, "float32"), -at, DropoutKey(0, 0))
    again = used.sums(rows, at, KEY)
    assert again.gradient.tobytes() == fresh.gradient.tobytes()
    assert again.loss == fresh.loss


def test_no_rows_give_nothing() -> None:
    architecture = network(dropout=0.5)
    rows, at = rows_for(architecture, 0), parameters_of(architecture)
    passes = Passes(architecture, np.dtype(np.float64), 0)
    sums = passes.sums(rows, at, KEY)
    assert (sums.loss, sums.weight, np.any(sums.gradient)) == (0.0, 0.0, False)
    assert passes.loss(rows, at) == (0.0, 0.0)
    assert passes.outputs(rows.X, at).shape == (0, 3)


def test_a_row_loses_the_same_units_in_whatever_batch_it_is() -> None:
    architecture = network(dropout=0.5)
    rows, at = rows_for(architecture, 40), parameters_of(architecture)
    passes = Passes(architecture, np.dtype(np.float64), 40)
    shuffled = some(rows, np.random.default_rng(0).permutation(40))
    np.testing.assert_allclose(
        passes.sums(shuffled, at, KEY).gradient, passes.sums(rows, at, KEY).gradient, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("other", [DropoutKey(5, 3), DropoutKey(6, 2)], ids=["epoch", "seed"])
def test_every_epoch_and_every_seed_leaves_out_other_units(other: DropoutKey) -> None:
    architecture = network(dropout=0.5)
    rows, at = rows_for(architecture, 40), parameters_of(architecture)
    passes = Passes(architecture, np.dtype(np.float64), 40)
    assert passes.sums(rows, at, other).loss != passes.sums(rows, at, KEY).loss
    moved = replace(rows, positions=rows.positions + 1)
    assert passes.sums(moved, at, KEY).loss != passes.sums(rows, at, KEY).loss


def test_on_average_dropout_leaves_the_outputs_as_they_are() -> None:
    layout = Layout((1, 2000, 1))
    architecture = Architecture(layout, "identity", "squared", 0.3)
    at = np.ones(layout.n_parameters)
    at[-1] = 0.0
    rows = Rows(np.ones((50, 1)), np.zeros(50), None, np.arange(50))
    losses = Passes(architecture, np.dtype(np.float64), 50).sums(rows, at, KEY).loss / 50
    # z = 4000 (1 + noise): half of its square, and the variance of what was left out, 2000 * 4 * 0.3 / 0.7
    assert losses == pytest.approx(0.5 * (4000**2 + 2000 * 4 * 0.3 / 0.7), rel=0.01)


def test_numbers_that_are_too_large_show_in_the_sums_and_not_as_warnings() -> None:
    architecture = network()
    rows = rows_for(architecture, 4, "float32")
    sums = Passes(architecture, rows.X.dtype, 4).sums(rows, np.full(architecture.layout.n_parameters, 1e30))
    assert not np.isfinite(sums.loss)


@pytest.mark.parametrize(("loss", "far"), [("softmax", 1e4), ("logistic", 1e4), ("squared", 1e4)])
def test_outputs_that_are_far_off_have_a_finite_loss(loss: str, far: float) -> None:
    K = OUTPUTS[loss]
    z = np.full((2, K), -far)
    z[0, 0] = far
    y = np.array([K - 1, 0])
    value = LOSSES[loss](z, y, None, True)
    assert np.isfinite(value)
    assert np.isfinite(z).all()
