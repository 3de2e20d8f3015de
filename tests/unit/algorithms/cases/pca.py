"""Principal components: one round for the exact ones, some for the others."""

from sklearn.datasets import load_breast_cancer, load_iris, load_wine

from tests.unit.algorithms.case import Case
from tests.unit.algorithms.training import Data

WINE = Data(*load_wine(return_X_y=True))
CANCER = Data(*load_breast_cancer(return_X_y=True))
IRIS = Data(*load_iris(return_X_y=True))
RANDOMIZED = {"n_components": 2, "solver": "randomized", "oversamples": 1, "power_iterations": 2}
VANISHING = 1e-3
"""The sum of centred rows is 0 but for the rounding of each."""
CASES = (
    Case("pca", "defaults", CANCER, rounds=0, float32_digits=VANISHING),
    Case("pca", "float32", WINE, {"n_components": 0.99, "dtype": "float32", "whiten": True}, rounds=0),
    Case("pca", "randomized", IRIS, RANDOMIZED, rounds=2, float32_digits=VANISHING),
)
