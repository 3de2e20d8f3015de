"""What ``fit`` is given: arrays that are checked as scikit-learn checks them, or files that only workers read."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Number
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d, validate_data

from gradloom.client import Client
from gradloom.errors import InvalidParameter
from gradloom.uploading import UploadedData

FLOATS = (np.float64, np.float32)
MAX_EXACT = 2.0**53
"""Up to here float64, in which a target travels, holds every whole number."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Files that workers read, or what ``Client.upload`` has put where they can, and which column plays which part."""

    data: str | tuple[str, ...] | UploadedData
    target: str | None
    weight: str | None
    features: tuple[str, ...]

    @contextmanager
    def placed(self, client: Client) -> Iterator[dict[str, Any]]:
        """What ``Client.submit`` is to be told of it."""
        del client
        yield {"data": self.data, "target": self.target, "weight": self.weight, "features": self.features}


@dataclass(frozen=True, slots=True, eq=False)
class InMemory:
    """Rows of this process; they are uploaded for the time of the training."""

    X: Any
    """(n, d) float32 or float64, dense or csr."""
    y: NDArray[Any] | None
    """(n,) as it is sent: numbers, or text."""
    sample_weight: NDArray[np.float64] | None
    feature_names: tuple[str, ...] | None
    classes: NDArray[Any] | None = None
    """(K,) the labels in their order, as ``fit`` was given them; None in a regression."""

    @property
    def dtype(self) -> str:
        """``float32`` or ``float64``."""
        return str(self.X.dtype)

    @contextmanager
    def placed(self, client: Client) -> Iterator[dict[str, Any]]:
        """What ``Client.submit`` is to be told of it, while it is there."""
        with client.upload(self.X, self.y, self.sample_weight, self.feature_names) as uploaded:
            yield {"data": uploaded}


Given = Stored | InMemory
Columns = tuple[str | None, str | None, Sequence[str]]
"""Target, weight and features by name, for data in files."""


def is_stored(X: object) -> TypeGuard[str | os.PathLike[str] | Sequence[str] | UploadedData]:
    """Whether ``X`` names files rather than being rows."""
    if isinstance(X, str | os.PathLike | UploadedData):
        return True
    return isinstance(X, list | tuple) and bool(X) and all(isinstance(one, str | os.PathLike) for one in X)


def stored(
    X: str | os.PathLike[str] | Sequence[str] | UploadedData,
    y: object,
    sample_weight: object,
    columns: Columns,
) -> Stored:
    """Files and the columns (target, weight, features) in them. Raises InvalidParameter for arrays beside them."""
    for name, values, instead in (("y", y, "target"), ("sample_weight", sample_weight, "weight")):
        if values is not None:
            raise InvalidParameter(name, f"can't be an array beside files; {instead}= names a column of them")
    if isinstance(X, str | os.PathLike):
        data: str | tuple[str, ...] | UploadedData = os.fspath(X)
    else:
        data = X if isinstance(X, UploadedData) else tuple(map(os.fspath, X))
    target, weight, features = columns
    return Stored(data, target, weight, tuple(features))


def refuse_columns(columns: Columns) -> None:
    """Raise InvalidParameter for the names of columns beside arrays."""
    for name, value in zip(("target", "weight", "features"), columns, strict=True):
        if value:
            raise InvalidParameter(
                name,
                f"{value!r} names a column of files, and X is no file; give arrays as X, y and sample_weight",
            )


@dataclass(frozen=True, slots=True)
class Accepts:
    """What an estimator takes."""

    sparse: bool
    missing: bool
    """Cells that are NaN."""
    target: Literal["number", "class", "none"]

    def checks(self) -> dict[str, Any]:
        """What scikit-learn's validation is told."""
        return {
            "accept_sparse": "csr" if self.sparse else False,
            "dtype": FLOATS,
            "ensure_all_finite": "allow-nan" if self.missing else True,
        }


def rows(estimator: Any, X: object, y: object, sample_weight: object, accepts: Accepts) -> InMemory:
    """Checked arrays; sets n_features_in_ and feature_names_in_ of the estimator. Raises what scikit-learn does."""
    checked, target, values = accepts.checks(), accepts.target, None
    if target == "none" or y is None:
        X = validate_data(estimator, X, None, **checked)
    else:
        X, values = validate_data(estimator, X, y, y_numeric=target == "number", **checked)
    names = getattr(estimator, "feature_names_in_", None)
    return InMemory(
        X=X,
        y=np.asarray(values, dtype=np.float64) if target == "number" else values,
        sample_weight=weights(sample_weight, X),
        feature_names=None if names is None else tuple(names),
    )


def weights(given: object, X: Any) -> NDArray[np.float64] | None:
    """Sample weights (n,) float64, none negative and not all 0; None stays None. Raises ValueError."""
    if given is None:
        return None
    n = X.shape[0]
    values: NDArray[np.float64] = check_array(
        np.full(n, given) if isinstance(given, Number) else given,
        ensure_2d=False,
        dtype=np.float64,
        input_name="sample_weight",
    )
    if values.ndim != 1:
        raise InvalidParameter(
            "sample_weight", f"Sample weights must be 1D array or scalar, got {values.ndim}D array"
        )
    if values.shape != (n,):
        raise InvalidParameter("sample_weight", f"sample_weight.shape == {values.shape}, expected {(n,)}!")
    if (values < 0).any():
        raise InvalidParameter("sample_weight", "Negative values in data passed to `sample_weight`")
    if not values.any():
        raise InvalidParameter("sample_weight", "Sample weights must contain at least one non-zero number.")
    return values


def with_classes(given: InMemory, class_weight: object = None) -> InMemory:
    """The target of a classification as it is sent, and its classes in their order.

    Weights of single classes are worked into the weights of the rows; ``balanced`` is the cluster's business.
    Raises ValueError for a target of one class, or one that is no class.
    """
    y = column_or_1d(given.y, warn=True)
    check_classification_targets(y)
    classes, index = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise InvalidParameter(
            "y",
            f"a classifier needs samples of at least 2 classes; the data holds only one class: {classes[0]!r}",
        )
    weight = given.sample_weight
    if isinstance(class_weight, Mapping):
        weight = (1.0 if weight is None else weight) * _per_class(class_weight, classes)[index]
    return InMemory(given.X, _sendable(y, classes, index), weight, given.feature_names, classes)


def _per_class(class_weight: Mapping[Any, float], classes: NDArray[Any]) -> NDArray[np.float64]:
    unknown = [label for label in class_weight if label not in classes.tolist()]
    if unknown:
        raise InvalidParameter(
            "class_weight", f"{unknown[0]!r} is none of the classes: {', '.join(map(repr, classes.tolist()))}"
        )
    return np.array([float(class_weight.get(label, 1.0)) for label in classes.tolist()])


def _sendable(y: NDArray[Any], classes: NDArray[Any], index: NDArray[np.int64]) -> NDArray[Any]:
    """Labels as they are where the model can give them back in the same order; else the number of each class."""
    if classes.dtype.kind in "iufb" and np.abs(classes.astype(np.float64)).max() <= MAX_EXACT:
        return y.astype(np.float64)
    if all(isinstance(label, str) for label in classes.tolist()):
        return y.astype(np.str_)
    return index.astype(np.float64)
