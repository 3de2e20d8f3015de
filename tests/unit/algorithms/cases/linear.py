"""Linear models on the data sets that come with scikit-learn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from tests.unit.algorithms.case import Case
from tests.unit.algorithms.training import Data

DIABETES = Data(*load_diabetes(return_X_y=True, scaled=False))
BREAST_CANCER = Data(*load_breast_cancer(return_X_y=True))
IRIS = Data(*load_iris(return_X_y=True))
DATA = {"linear": DIABETES, "logistic": BREAST_CANCER, "multinomial": IRIS}
VARIANTS: dict[str, Mapping[str, Any]] = {
    "lbfgs": {"solver": "lbfgs"},
    "float64": {"solver": "lbfgs", "dtype": "float64"},
    "no intercept": {"solver": "lbfgs", "fit_intercept": False, "standardize": False, "dtype": "float64"},
    "validation": {"solver": "lbfgs", "validation_fraction": 0.2, "patience": 3},
    "descent": {"solver": "gradient_descent", "max_rounds": 20},
    "nesterov": {"solver": "momentum", "nesterov": True, "max_rounds": 20},
    "batches": {"solver": "adam", "batch_size": 24, "max_rounds": 20},
}
ITERATIVE = tuple(
    Case(name, variant, data, settings, full_pass=variant != "batches")
    for name, data in DATA.items()
    for variant, settings in VARIANTS.items()
)
"""Solvers whose rounds are all alike: a loss and a gradient."""
COUNTS = Data(DIABETES.X, np.round(DIABETES.y / 50))
EXACT = {"tolerance": 1e-12, "dtype": "float64"}
RICH = (
    Case("linear", "newton", DIABETES, {"solver": "newton", "l1": 1.0, **EXACT}, rounds=1),
    Case("linear", "barzilai_borwein", DIABETES, {"solver": "barzilai_borwein", "l1": 1.0}),
    Case("huber", "defaults", DIABETES, {"tolerance": 1e-12}),
    Case("huber", "lbfgs", DIABETES, {"solver": "lbfgs", "standardize": False}),
    Case("huber", "fixed scale", COUNTS, {"learn_scale": False, "epsilon": 0.5, "l1": 0.02, **EXACT}),
    Case("poisson", "defaults", COUNTS, {"l2": 0.1, "tolerance": 1e-12}, assess_digits=5e-3),
    Case("poisson", "lbfgsb", COUNTS, {"solver": "lbfgsb", "l1": 0.01}, assess_digits=5e-3),
    Case("logistic", "newton", BREAST_CANCER, {"l1": 0.01}),
    Case("logistic", "lbfgsb", BREAST_CANCER, {"solver": "lbfgsb", "l1": 0.01, "penalty_per": "mean"}),
    Case("logistic", "local steps", BREAST_CANCER, {"local_steps": 4, "batch_size": 64}, full_pass=False),
    Case("multinomial", "newton", IRIS, {"l2": 0.01, **EXACT}),
    Case(
        "linear_svm",
        "two classes",
        BREAST_CANCER,
        {"penalize_intercept": True, "penalty_per": "sum", "l2": 1.0},
    ),
    Case("linear_svm", "one versus rest", IRIS, {"l2": 0.01}),
    Case("linear_svm", "lbfgs", IRIS, {"solver": "lbfgs", "l2": 0.01}),
    Case("linear_svm", "hinge", IRIS, {"loss": "hinge", "batch_size": 30}, full_pass=False),
)
"""Solvers that ask for more, in some rounds or all; and losses of their own."""
GRAM = (
    Case("linear", "defaults", DIABETES, rounds=0),
    Case("linear", "gram", DIABETES, {"l1": 0.5, "standardize": False, "dtype": "float64"}, rounds=0),
    Case(
        "linear",
        "gram validation",
        DIABETES,
        {"validation_fraction": 0.2, **EXACT},
        rounds=1,
        float32_digits=0,
    ),
)
"""Least squares in one round, or in two where the second looks at held-out rows."""
CASES = (*ITERATIVE, *RICH, *GRAM)
