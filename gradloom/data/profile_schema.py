"""From the profile of all rows to the schema of a job, or to the sentence that says why there can't be one.

Pure. Rows are named by their position in the whole data set, counted from 0.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.class_weights import class_weights
from gradloom.data.label_counts import MAX_LABELS, LabelCounts
from gradloom.data.manifest import Columns
from gradloom.data.preparation import Preparation, Split, label_text
from gradloom.data.profile import INFINITE, MISSING, NEGATIVE
from gradloom.data.shard import Labels
from gradloom.errors import DataError
from gradloom.schema import Schema
from gradloom.tensors import Tensors

if TYPE_CHECKING:
    from gradloom.algorithms.algorithm import Needs

CLASSES_SHOWN = 5


def schema_from_profile(total: Tensors, columns: Columns, needs: "Needs", split: Split) -> Schema:
    """The schema of a job whose rows are all in ``total``.

    Raises DataError naming the column, and the row where there is one, if the data can't be learnt from;
    InvalidInput for class weights that do not suit it.
    """
    supervised = needs.task != "unsupervised"
    if supervised and columns.target is None:
        raise DataError("target", "is required: the column to learn")
    _check_cells(total, columns, missing_allowed=needs.missing_allowed)
    _check_parts(total, split)
    labels = LabelCounts.from_tensors(total)
    classes = _classes(total, labels, str(columns.target), needs) if supervised else None
    weights = class_weights(needs.class_weight, classes, labels, by_rows=needs.balance_rows)
    center, scale = _standard(total, columns) if needs.standardize or needs.center else ((), ())
    train_rows, validation_rows, test_rows = total["rows"].tolist()
    return Schema(
        features=columns.features,
        target=columns.target if supervised and columns.target else "",
        classes=classes,
        train_rows=train_rows,
        validation_rows=validation_rows,
        test_rows=test_rows,
        train_weight=_train_weight(total, labels, weights),
        preparation=Preparation(
            split, needs.dtype, classes, center, scale if needs.standardize else (), weights
        ),
    )


def _check_cells(total: Tensors, columns: Columns, *, missing_allowed: bool) -> None:
    """Refuse missing, infinite and negative cells: the first column that has any."""
    names = [*columns.features, str(columns.target), str(columns.weight)]
    n_rows = int(total["rows"].sum())
    says = {
        MISSING: ("has no value", "have none"),
        INFINITE: ("is infinite", "are infinite"),
        NEGATIVE: ("is negative", "are negative"),
    }
    for kind, (one, many) in says.items():
        bad = total["bad_cells"][kind] > 0
        if kind == MISSING and missing_allowed:
            bad[: len(columns.features)] = False
        for j in np.flatnonzero(bad)[:1]:
            row, count = total["first_bad"][kind, j], total["bad_cells"][kind, j]
            raise DataError(
                f"column {names[j]!r}",
                f"row {row} {one}; {count} of {n_rows} rows {many} (rows are counted from 0). "
                + _advice(kind, is_feature=int(j) < len(columns.features)),
            )


def _advice(kind: int, *, is_feature: bool) -> str:
    if kind == NEGATIVE:
        return f"{'A count' if is_feature else 'A weight'} must be 0 or more."
    if is_feature:
        return "Fill them in, drop those rows, or leave the column out with --features."
    return "Fill them in, or drop those rows."


def _check_parts(total: Tensors, split: Split) -> None:
    train, validation, test = total["rows"].tolist()
    n_rows = train + validation + test
    if not train:
        raise DataError(
            "data", f"none of {n_rows} rows is left to train on; lower validation_fraction or test_fraction"
        )
    for field, fraction, rows in (
        ("validation_fraction", split.validation_fraction, validation),
        ("test_fraction", split.test_fraction, test),
    ):
        if fraction > 0 and not rows:
            raise DataError(
                field, f"{fraction:g} of {n_rows} rows leaves no row for this part; make it larger, or 0"
            )
    if not total["weight"][0] > 0:
        raise DataError("weight", f"all {train} train rows weigh 0; at least one must weigh more")


def _classes(total: Tensors, labels: LabelCounts, target: str, needs: "Needs") -> Labels | None:
    """The classes in order; None in a regression."""
    column = f"column {target!r}"
    if needs.task == "regression":
        if labels.is_text:
            row = int(total["first_text"][0])
            raise DataError(column, f"row {row} (counted from 0) is text; a regression needs numbers")
        return None
    if labels.too_many:
        raise DataError(
            column, f"has more than {MAX_LABELS} different values, too many classes; is this a regression?"
        )
    trained = labels.labels[labels.rows > 0]
    if len(trained) < 2:
        raise DataError(
            column, f"all train rows are of class {_shown(trained)}; a classification needs two classes"
        )
    if needs.task == "binary" and len(labels.labels) > 2:
        raise DataError(
            column,
            f"has {len(labels.labels)} classes ({_shown(labels.labels)}); use multinomial for more than 2",
        )
    return tuple(labels.labels.tolist())


def _shown(labels: NDArray[Any]) -> str:
    names = [repr(label) if isinstance(label, str) else label_text(label) for label in labels[:CLASSES_SHOWN]]
    return ", ".join([*names, *(["..."] if len(labels) > CLASSES_SHOWN else [])])


def _standard(total: Tensors, columns: Columns) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Center and scale of each column: mean and standard deviation (divisor n); a constant column has scale 1."""
    n = int(total["rows"][0])
    mean, variance = total["mean"], total["m2"] / n
    for j in np.flatnonzero(~np.isfinite(variance))[:1]:
        raise DataError(f"column {columns.features[j]!r}", "holds values too large to standardise")
    scale = np.where(_is_constant(mean, variance, n), 1.0, np.sqrt(variance))
    return tuple(mean.tolist()), tuple(scale.tolist())


def _is_constant(mean: NDArray[np.float64], variance: NDArray[np.float64], n: int) -> NDArray[np.bool_]:
    """Whether a variance is no more than rounding makes of a constant column: <= n eps var + (n mean eps)^2.

    Source: the error bound of the two-pass algorithm in Chan, Golub, LeVeque, "Algorithms for computing the sample
    variance", 1983; scikit-learn's StandardScaler uses it too.
    """
    eps = float(np.finfo(np.float64).eps)
    with np.errstate(over="ignore"):  # a bound of infinity is a bound
        constant: NDArray[np.bool_] = variance <= n * eps * variance + np.square(n * mean * eps)
    return constant


def _train_weight(total: Tensors, labels: LabelCounts, weights: tuple[float, ...]) -> float:
    if not weights:
        return float(total["weight"][0])
    train_weight = float((labels.weight * np.asarray(weights)).sum())
    if not train_weight > 0:
        raise DataError("class_weight", "makes all train rows weigh 0; at least one must weigh more")
    return train_weight
