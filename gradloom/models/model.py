"""What every trained model is: its columns and classes, its file, and how it is asked. numpy is all it needs.

Values only: a model never changes once it is made. It stands on raw columns, as they are in the files; how rows
were standardised for training is already worked into its arrays.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gradloom import model_file
from gradloom.data.preparation import encode_labels
from gradloom.data.shard import Labels
from gradloom.errors import DataError, InvalidInput
from gradloom.keys import Keyring
from gradloom.model_file import JsonScalar
from gradloom.scores import classification_scores, classification_sums, regression_scores, regression_sums
from gradloom.settings import keys_from_environment
from gradloom.tensors import Tensors, sha256
from gradloom.whole_files import PUBLIC, write_whole

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Model(ABC):
    """A trained model. A family of models is one subclass in one file, listed in ``gradloom.models``."""

    kind: ClassVar[str]
    """Names the family in model files."""

    algorithm: str
    version: int
    """Of the algorithm that trained it."""
    features: tuple[str, ...]
    """Columns of X, in order."""
    target: str
    """Empty where nothing is predicted of a column."""
    classes: Labels | None
    """None where there are none."""
    settings: Mapping[str, JsonScalar] = field(default_factory=dict)
    """What the algorithm was told."""
    metadata: Mapping[str, JsonScalar] = field(default_factory=dict)
    """What became of it: rows, weights, rounds, why it stopped."""

    @property
    @abstractmethod
    def arrays(self) -> Tensors:
        """What was learnt, by the names of the fields that hold it."""

    @abstractmethod
    def check_arrays(self) -> None:
        """Raise ValueError for arrays that do not fit each other or the columns; a file may hold anything."""

    @abstractmethod
    def predict(self, X: object) -> NDArray[Any]:
        """The value, class or cluster of each row of X (n, d); shape (n,). Raises InvalidInput."""

    def predict_proba(self, X: object) -> Floats:  # noqa: ARG002 - for families that have them
        """Probability of each class in the order of ``classes``; shape (n, K). Raises InvalidInput."""
        what = (
            f"a regression on {self.target!r}" if self.classes is None else f"a model of kind {self.kind!r}"
        )
        raise InvalidInput("predict_proba", f"{what} has no classes; use predict")

    def scores(self, X: object, y: object, weight: object = None) -> dict[str, float]:
        """accuracy, log_loss and roc_auc of a classifier; r2, rmse and mae of a regression.

        X (n, d), y (n,) as in the data, weight (n,) or None = 1 each. Raises InvalidInput.
        """
        predicted = self.predict(X) if self.classes is None else self.predict_proba(X)
        truth = column("y", np.asarray(y) if self.classes is not None else numbers("y", y), len(predicted))
        s = None if weight is None else column("weight", numbers("weight", weight), len(predicted))
        if self.classes is None:
            center = float(truth.mean()) if len(truth) else 0.0
            return regression_scores(regression_sums(truth, predicted, s, center))
        return classification_scores(classification_sums(self.class_index(truth), predicted, s))

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        from gradloom.reports.notebook import model_html

        return model_html(self)

    @property
    def parameters_sha256(self) -> str:
        """Fingerprint of the arrays: equal exactly when all bits are."""
        return sha256(self.arrays)

    def to_bytes(self) -> bytes:
        """The model file: safetensors, with everything that is no array as JSON in its header."""
        header: dict[str, object] = {
            "algorithm": self.algorithm,
            "version": self.version,
            "features": self.features,
            "target": self.target,
            "classes": self.classes,
            "settings": dict(self.settings),
            "metadata": dict(self.metadata),
        }
        return model_file.encode(self.kind, header, self.arrays)

    @classmethod
    def from_file(cls, file: model_file.ModelFile) -> Self:
        """The model in the parts of a model file. Raises KeyError, TypeError or ValueError if some are missing."""
        header = file.header
        classes = header["classes"]
        model = cls(
            algorithm=str(header["algorithm"]),
            version=int(header["version"]),
            features=tuple(header["features"]),
            target=str(header["target"]),
            classes=None if classes is None else tuple(classes),
            settings=dict(header["settings"]),
            metadata=dict(header["metadata"]),
            **file.arrays,
        )
        model.check_arrays()
        return model

    def save(self, path: str | os.PathLike[str], keys: Keyring | None = None) -> None:
        """Write the model file; a reader sees the old file or the new one, never half of it.

        It is encrypted with the first of the keys; without ``keys`` with the one that the environment names, if any.
        """
        keys = keys_from_environment() if keys is None else keys
        write_whole(Path(path), model_file.content(self.to_bytes(), keys), PUBLIC)

    def to_sklearn(self) -> Any:
        """The same model as a fitted scikit-learn estimator. Raises InvalidInput where there is none."""
        raise InvalidInput("to_sklearn", f"scikit-learn has no estimator for a model of kind {self.kind!r}")

    # --- for the families ------------------------------------------------------------------------------------------

    def checked(self, X: object) -> NDArray[Any]:
        """X as an array of numbers (n, d) of any numeric dtype. Raises InvalidInput for what is no such table."""
        try:
            rows = np.asarray(X)
            rows = rows if rows.dtype.kind in "fiub" else rows.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidInput("X", f"is not a table of numbers: {error}") from error
        if rows.ndim != 2 or rows.shape[1] != len(self.features):
            raise InvalidInput(
                "X",
                f"has the shape {rows.shape}; needed are rows of {len(self.features)} columns: {self._names()}",
            )
        return rows

    def refuse_not_finite(self, rows: NDArray[Any], result: Floats) -> None:
        """Raise InvalidInput naming the first row and column whose result (n,) or (n, K) is not finite."""
        good = np.isfinite(result) if result.ndim == 1 else np.isfinite(result).all(axis=1)
        if good.all():
            return
        row = int(np.argmin(good))
        columns = np.flatnonzero(~np.isfinite(rows[row]))
        where = (
            f"in column {self.features[columns[0]]!r}"
            if len(columns)
            else "that is too large to predict with"
        )
        raise InvalidInput(
            "X", f"row {row} holds a value {where} that is not finite; {int((~good).sum())} row(s) do"
        )

    def class_index(self, truth: NDArray[Any]) -> NDArray[np.int64]:
        """Index of each label in ``classes``. Raises DataError for one that is none of them."""
        assert self.classes is not None
        try:
            return encode_labels(truth, self.classes)
        except ValueError as error:
            raise DataError(self.target, str(error)) from error

    def _names(self) -> str:
        shown = ", ".join(self.features[:8])
        return shown if len(self.features) <= 8 else f"{shown}, ... {self.features[-1]}"


def numbers(name: str, values: object) -> Floats:
    """An argument as float64. Raises InvalidInput."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(name, f"is not a column of numbers: {error}") from error


def column(name: str, values: NDArray[Any], n_rows: int) -> NDArray[Any]:
    """An argument with one value a row, shape (n_rows,). Raises InvalidInput."""
    if values.size != n_rows:
        raise InvalidInput(name, f"has {values.size} values, but X has {n_rows} rows")
    return values.reshape(-1)


def label_array(classes: Labels) -> NDArray[Any]:
    """The classes as an array (K,): text, whole numbers as int64, or float64."""
    labels = np.asarray(classes)
    whole = labels.dtype.kind == "f" and bool(np.all(labels == np.floor(labels)))
    return labels.astype(np.int64) if whole else labels


def probabilities(z: Floats) -> Floats:
    """Class probabilities of logits: (n,) log-odds of the second of two classes, or (n, K); returns (n, K)."""
    if z.ndim == 1:
        odds = np.exp(-np.abs(z))
        likely, unlikely = 1.0 / (1.0 + odds), odds / (1.0 + odds)
        return np.stack([np.where(z > 0, unlikely, likely), np.where(z > 0, likely, unlikely)], axis=1)
    e: Floats = np.exp(z - z.max(axis=1, keepdims=True))
    e /= e.sum(axis=1, keepdims=True)
    return e


def sklearn_module(name: str) -> Any:
    """A module of scikit-learn, e.g. ``linear_model``. Raises InvalidInput, with the cure, where there is none."""
    try:
        return import_module(f"sklearn.{name}")
    except ImportError as error:
        raise InvalidInput(
            "to_sklearn", "needs scikit-learn, which is not installed: pip install gradloom[sklearn]"
        ) from error
