"""Multi-layer perceptrons on the data sets that come with scikit-learn."""

from collections.abc import Mapping
from typing import Any

from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris

from tests.unit.algorithms.case import Case
from tests.unit.algorithms.training import Data

IRIS = Data(*load_iris(return_X_y=True))
CANCER = Data(*load_breast_cancer(return_X_y=True))
DIABETES = Data(*load_diabetes(return_X_y=True, scaled=False))
DIGITS = Data(*load_digits(return_X_y=True))

WHOLE: Mapping[str, Any] = {"batch_size": 0, "hidden_layer_sizes": "6,4"}
EXACT: Mapping[str, Any] = {
    "dtype": "float64", "standardize": False, "batch_size": 0, "hidden_layer_sizes": "6,4", "patience": 0,
}  # fmt: skip
SMALL: Mapping[str, Any] = {"batch_size": 32, "hidden_layer_sizes": "8", "max_epochs": 3}
CASES = (
    Case("mlp_classifier", "whole", IRIS, WHOLE),
    Case("mlp_classifier", "float64", IRIS, {**WHOLE, "dtype": "float64", "activation": "gelu"}),
    Case("mlp_classifier", "dropout", IRIS, {**WHOLE, "dropout": 0.3, "activation": "tanh"}),
    Case("mlp_classifier", "two classes", CANCER, WHOLE),
    Case("mlp_classifier", "no hidden layer", IRIS, {**WHOLE, "hidden_layer_sizes": ""}),
    Case("mlp_classifier", "batches", CANCER, {**SMALL, "solver": "adamw"}, full_pass=False),
    Case(
        "mlp_classifier",
        "validation",
        IRIS,
        {**SMALL, "validation_fraction": 0.2, "patience": 2, "schedule": "cosine", "warmup_epochs": 0.5},
        full_pass=False,
    ),
    Case(
        "mlp_classifier", "local steps", CANCER, {**SMALL, "local_steps": 4, "dropout": 0.1}, full_pass=False
    ),
    Case("mlp_regressor", "whole", DIABETES, {**WHOLE, "solver": "sgd"}),
    Case("mlp_regressor", "raw target", DIABETES, {**WHOLE, "standardize_target": False}),
    Case("mlp_regressor", "batches", DIABETES, {**SMALL, "validation_fraction": 0.1}, full_pass=False),
    Case("mlp_regressor", "local steps", DIABETES, {**SMALL, "local_steps": 2}, full_pass=False),
)
