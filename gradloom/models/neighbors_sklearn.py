"""A model of neighbours as a fitted scikit-learn estimator, for pipelines and tools that know those."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.errors import InvalidInput
from gradloom.models.model import label_array, sklearn_module

if TYPE_CHECKING:
    from gradloom.models.neighbors import Neighbors


def to_sklearn(model: "Neighbors") -> Any:
    """KNeighborsClassifier, KNeighborsRegressor or NearestNeighbors, fitted on the rows of the model.

    scikit-learn numbers the rows from 0: row i there is ``model.ids[i]``. Raises InvalidInput without scikit-learn, and
    for a model that measures distances on standardised columns: that would be a pipeline.
    """
    if len(model.shift) or len(model.scale):
        raise InvalidInput(
            "to_sklearn", "a model that standardises its columns is no single scikit-learn estimator"
        )
    neighbors = sklearn_module("neighbors")
    s = model.settings
    how = {"n_neighbors": int(s["n_neighbors"] or 1), "metric": s["metric"], "algorithm": "brute"}
    if not model.voting.predicts:
        estimator = neighbors.NearestNeighbors(radius=float(s["radius"] or 0.0), **how).fit(model.rows)
    elif model.classes is None:
        estimator = neighbors.KNeighborsRegressor(weights=s["weights"], **how).fit(model.rows, model.targets)
    else:
        y = label_array(model.classes)[model.targets.astype(np.int64)]
        estimator = neighbors.KNeighborsClassifier(weights=s["weights"], **how).fit(model.rows, y)
    estimator.feature_names_in_ = np.asarray(model.features, dtype=object)
    return estimator
