"""Nearest neighbours on the data sets that come with scikit-learn; jobs that serve are tested beside the others."""

from collections.abc import Mapping
from typing import Any

from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from tests.unit.algorithms.case import Case
from tests.unit.algorithms.training import Data

DATA = {
    "knn_classifier": Data(*load_iris(return_X_y=True)),
    "knn_regressor": Data(*load_diabetes(return_X_y=True, scaled=False)),
    "neighbors": Data(*load_breast_cancer(return_X_y=True)),
}
VARIANTS: dict[str, Mapping[str, Any]] = {
    "defaults": {},
    "standardised": {"standardize": True, "dtype": "float32"},
    "cosine": {"metric": "cosine", "n_neighbors": 3},
    "manhattan": {"metric": "manhattan"},
}
CASES = tuple(
    Case(name, variant, data, settings, full_pass=False, sums=False, weighted=False, rounds=1)
    for name, data in DATA.items()
    for variant, settings in VARIANTS.items()
)
