"""Class weights: ``balanced``, or said by label. Pure."""

import math

import numpy as np

from gradloom.data.label_counts import LabelCounts
from gradloom.data.preparation import label_text
from gradloom.data.shard import Labels
from gradloom.errors import InvalidInput

FIELD = "class_weight"


def class_weights(
    spec: str, classes: Labels | None, labels: LabelCounts, *, by_rows: bool = False
) -> tuple[float, ...]:
    """The weight of each class, in the order of ``classes``; () where ``spec`` is empty.

    ``balanced`` is W / (K W_k): W the weight of all train rows, W_k that of class k, K the number of classes;
    ``by_rows``: their numbers instead of their weights.
    ``label:weight,label:weight`` says them; a class that is not named weighs 1.
    Raises InvalidInput for anything else, for an unknown class, and for a class of no weight to balance.
    """
    if not spec:
        return ()
    if classes is None:
        raise InvalidInput(FIELD, f"{spec!r} needs classes; a regression has none")
    names = [label_text(label) for label in classes]
    return _balanced(names, labels, by_rows=by_rows) if spec == "balanced" else _explicit(spec, names)


def _balanced(names: list[str], labels: LabelCounts, *, by_rows: bool) -> tuple[float, ...]:
    if not labels.weight.all():
        empty = names[int(np.argmin(labels.weight))]
        raise InvalidInput(
            FIELD, f"'balanced' can't weigh class {empty!r}: its train rows weigh 0, or there are none"
        )
    counted = labels.rows.astype(np.float64) if by_rows else labels.weight
    balanced = counted.sum() / (len(names) * counted)
    return tuple(balanced.tolist())


def _explicit(spec: str, names: list[str]) -> tuple[float, ...]:
    weights = dict.fromkeys(names, 1.0)
    for entry in spec.split(","):
        label, colon, number = entry.rpartition(":")
        label = label.strip()
        if not colon:
            raise InvalidInput(FIELD, f"{entry!r} is neither 'balanced' nor label:weight")
        if label not in weights:
            raise InvalidInput.unknown_name(FIELD, label, names)
        weights[label] = _weight(number, entry)
    return tuple(weights.values())


def _weight(number: str, entry: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        raise InvalidInput(FIELD, f"{entry.strip()!r} must end in a finite number that is 0 or more")
    return weight
