"""K-means in each of its phases. Which cluster a row is in may turn on its last digit: partials are no plain sums."""

from collections.abc import Mapping
from typing import Any

from sklearn.datasets import load_iris, load_wine

from tests.unit.algorithms.case import Case
from tests.unit.algorithms.training import Data

IRIS = Data(*load_iris(return_X_y=True))
WINE = Data(*load_wine(return_X_y=True))
TOGETHER = [[5.0, 3.4, 1.5, 0.2], [5.1, 3.5, 1.4, 0.2], [4.9, 3.0, 1.4, 0.1], [90.0, 90.0, 90.0, 90.0]]
GIVEN: Mapping[str, Any] = {"n_clusters": 4, "init": "given", "init_centers": TOGETHER}
VARIANTS: dict[str, tuple[Data, int, Mapping[str, Any]]] = {
    "first": (IRIS, 0, {"n_clusters": 3}),
    "drawing": (IRIS, 2, {"n_clusters": 3, "n_init": 2}),
    "weighing": (IRIS, 3, {"n_clusters": 3, "init_rounds": 2, "dtype": "float64"}),
    "lloyd": (WINE, 4, {"n_clusters": 3, "init_rounds": 1, "n_init": 2, "dtype": "float64"}),
    "trying": (WINE, 2, {"n_clusters": 5, "init": "k-means++", "n_init": 2}),
    "random": (WINE, 1, {"n_clusters": 5, "init": "random", "n_init": 3}),
    "given": (IRIS, 0, GIVEN),
    "empty": (IRIS, 1, GIVEN),
    "batches": (WINE, 4, {"n_clusters": 4, "init_rounds": 1, "batch_size": 40, "max_rounds": 6}),
}
CASES = tuple(
    Case(
        "kmeans",
        variant,
        data,
        settings,
        full_pass="batch_size" not in settings,
        sums=False,
        rounds=rounds,
    )
    for variant, (data, rounds, settings) in VARIANTS.items()
)
