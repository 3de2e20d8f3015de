"""Kernel machines in every phase of their training: local solutions, checks, and landmarks."""

from collections.abc import Mapping
from typing import Any

from sklearn.datasets import load_breast_cancer, load_iris

from tests.unit.algorithms.case import Case
from tests.unit.algorithms.training import Data

TWO = Data(*load_breast_cancer(return_X_y=True))
THREE = Data(*load_iris(return_X_y=True))
VARIANTS: dict[str, tuple[Data, int, Mapping[str, Any]]] = {
    "two classes, local": (TWO, 1, {}),
    "two classes, check": (TWO, 2, {"dtype": "float64", "local_rows": 50}),
    "three classes, check": (THREE, 2, {"C": 10.0, "kernel": "poly", "coef0": 1.0}),
    "not standardised": (THREE, 2, {"standardize": False, "class_weight": "balanced"}),
    "few rows held": (TWO, 2, {"max_support_vectors": 40, "landmarks": 30}),
    "landmarks": (TWO, 4, {"method": "nystroem", "landmarks": 60, "dtype": "float64"}),
    "landmarks of three classes": (THREE, 4, {"method": "nystroem", "landmarks": 20}),
}
CASES = tuple(
    Case("kernel_svm", variant, data, settings, full_pass=False, sums=False, rounds=rounds)
    for variant, (data, rounds, settings) in VARIANTS.items()
)
