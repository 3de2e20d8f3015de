"""Linear models on the data sets that come with scikit-learn."""

from collections.abc import Mapping
from typing import Any

from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from tests.unit.algorithms.case import Case
from tests.unit.algorithms.training import Data

DATA = {
    "linear": Data(*load_diabetes(return_X_y=True, scaled=False)),
    "logistic": Data(*load_breast_cancer(return_X_y=True)),
    "multinomial": Data(*load_iris(return_X_y=True)),
}
VARIANTS: dict[str, Mapping[str, Any]] = {
    "defaults": {},
    "float64": {"dtype": "float64"},
    "no intercept": {"fit_intercept": False, "standardize": False, "dtype": "float64"},
    "validation": {"validation_fraction": 0.2, "patience": 3},
    "descent": {"optimizer": "gradient_descent", "max_rounds": 20},
    "nesterov": {"optimizer": "momentum", "nesterov": True, "max_rounds": 20},
    "batches": {"optimizer": "adam", "batch_size": 4, "max_rounds": 20},
}
CASES = tuple(
    Case(name, variant, data, settings, full_pass=variant != "batches")
    for name, data in DATA.items()
    for variant, settings in VARIANTS.items()
)
