"""Linear models in one line."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.shard import Labels
from gradloom.models import Linear

NOTHING: Mapping[str, Any] = {}


def linear_model(
    algorithm: str,
    features: tuple[str, ...],
    target: str,
    classes: Labels | None,
    coefficients: NDArray[np.float64],
    intercept: NDArray[np.float64],
    settings: Mapping[str, Any] = NOTHING,
    metadata: Mapping[str, Any] = NOTHING,
) -> Linear:
    return Linear(
        algorithm=algorithm,
        version=1,
        features=features,
        target=target,
        classes=classes,
        coefficients=coefficients,
        intercept=intercept,
        settings=settings,
        metadata=metadata,
    )
