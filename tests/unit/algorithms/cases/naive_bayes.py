"""Naive Bayes, Gaussian in its second round and multinomial in its only one."""

from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from tests.unit.algorithms.case import Case
from tests.unit.algorithms.training import Data

CANCER = Data(*load_breast_cancer(return_X_y=True))
VANISHING = 1e-3
"""The sum of centred rows is 0 but for the rounding of each."""
CASES = (
    Case("gaussian_nb", "first", CANCER, rounds=0, float32_digits=VANISHING),
    Case("gaussian_nb", "second", Data(*load_wine(return_X_y=True)), rounds=1),
    Case("gaussian_nb", "float32", Data(*load_wine(return_X_y=True)), {"dtype": "float32"}, rounds=1),
    Case("multinomial_nb", "defaults", Data(*load_digits(return_X_y=True)), rounds=0),
    Case(
        "multinomial_nb", "priors", Data(*load_wine(return_X_y=True)), {"priors": "0.5,0.25,0.25"}, rounds=0
    ),
)
