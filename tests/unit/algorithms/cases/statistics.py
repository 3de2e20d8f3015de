"""Statistics of columns: means and extremes, which are no plain sums."""

from sklearn.datasets import load_wine

from tests.unit.algorithms.case import Case
from tests.unit.algorithms.training import Data

WINE = Data(*load_wine(return_X_y=True))
CASES = (
    Case("statistics", "defaults", WINE, sums=False, rounds=0),
    Case("statistics", "float32", WINE, {"dtype": "float32"}, sums=False, rounds=0),
)
