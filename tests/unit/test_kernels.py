"""Kernels: scikit-learn's values, in either dtype, far from the origin too."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import pairwise_kernels

from gradloom.kernels import Kernel

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(300, 7)), RNG.normal(size=(41, 7))
KERNELS = (
    Kernel("rbf", 0.3), Kernel("poly", 0.2, 1, 0.5), Kernel("poly", 0.2, 5, -0.5), Kernel("linear", 1.0),
    Kernel("sigmoid", 0.1, 3, 0.2),
)  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize(("dtype", "digits"), [("float64", 1e-12), ("float32", 2e-5)])
def test_values_are_those_of_scikit_learn(kernel: Kernel, dtype: str, digits: float) -> None:
    used = {
        "rbf": ("gamma",),
        "poly": ("gamma", "degree", "coef0"),
        "linear": (),
        "sigmoid": ("gamma", "coef0"),
    }
    numbers = {name: getattr(kernel, name) for name in used[kernel.name]}
    found = kernel.matrix(A.astype(dtype), B.astype(dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(
        found, pairwise_kernels(A, B, metric=kernel.name, **numbers), rtol=digits, atol=digits
    )


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("rows", [0, 1, 127, 128, 129, 300])
def test_gram_is_the_matrix_with_itself_and_symmetric_to_the_bit(kernel: Kernel, rows: int) -> None:
    X = A[:rows].astype(np.float32)
    gram = kernel.gram(X)
    assert gram.tobytes() == gram.T.copy().tobytes()
    np.testing.assert_allclose(gram, kernel.matrix(X, X), rtol=1e-5, atol=1e-6)


def test_distances_are_never_negative() -> None:
    X = (1e4 + 1e-3 * A).astype(np.float32)
    assert Kernel("rbf", 1.0).gram(X).max() <= 1.0


def test_values_that_overflow_are_left_to_the_caller_without_a_warning() -> None:
    rows = 1e9 * np.ones((2, 3), np.float32)
    assert not np.isfinite(Kernel("poly", 1.0, 9).matrix(rows, rows)).any()
