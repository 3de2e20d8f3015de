"""Asking a model of ours about rows that scikit-learn has checked: sparse ones by dense blocks, labels as they were."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import InvalidInput, InvalidParameter
from gradloom.models import Model, label_array

CELLS_AT_ONCE = 1 << 22
"""Cells of sparse rows that are dense at once: 32 MiB."""


@contextmanager
def refusals_as_value_errors() -> Iterator[None]:
    """Raise what gradloom refuses as scikit-learn's users expect it: as a ValueError."""
    try:
        yield
    except InvalidParameter:
        raise
    except InvalidInput as error:
        raise InvalidParameter(error.field, error.problem) from error


def over_blocks(ask: Callable[[Any], NDArray[Any]], X: Any) -> NDArray[Any]:
    """``ask`` of all rows: at once where they are dense, by dense blocks where they are sparse."""
    step = max(1, CELLS_AT_ONCE // max(1, X.shape[1]))
    with refusals_as_value_errors():
        if not hasattr(X, "toarray"):
            return ask(X)
        answers = [ask(X[start : start + step].toarray()) for start in range(0, X.shape[0], step)]
    joined: NDArray[Any] = np.concatenate(answers)
    return joined


def predicted_classes(model: Model, X: Any, classes: NDArray[Any]) -> NDArray[Any]:
    """What the model predicts, as the labels that ``fit`` was given."""
    assert model.classes is not None
    predicted = over_blocks(model.predict, X)
    labels: NDArray[Any] = classes[np.searchsorted(label_array(model.classes), predicted)]
    return labels
