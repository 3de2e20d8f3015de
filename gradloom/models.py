"""A trained model: what it predicts, how good it is, and the file it lives in. numpy is all it needs to predict.

Values only: a model never changes once it is made. It stands on raw columns, as they are in the files; how rows
were standardised for training is already worked into the coefficients.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradloom import model_file
from gradloom.data.preparation import encode_labels
from gradloom.data.shard import Labels
from gradloom.errors import DataError, InvalidInput, ModelFileError
from gradloom.model_file import JsonScalar
from gradloom.scores import classification_scores, classification_sums, regression_scores, regression_sums
from gradloom.tensors import sha256

Floats = NDArray[np.float64]
ROWS_AT_ONCE = 65_536
"""Rows are turned to float64 in blocks, so that predicting needs little memory beside X."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A linear model: z = X w + b, read as a value, or as the log-odds or logits of classes."""

    kind: ClassVar[str] = "linear"

    algorithm: str
    version: int
    """Of the algorithm that trained it."""
    features: tuple[str, ...]
    """Columns of X, in order."""
    target: str
    classes: Labels | None
    """None in a regression."""
    coefficients: Floats  # (d,), or (d, K) with one column a class
    intercept: Floats  # (), or (K,)
    settings: Mapping[str, JsonScalar] = field(default_factory=dict)
    """What the algorithm was told."""
    metadata: Mapping[str, JsonScalar] = field(default_factory=dict)
    """What became of it: rows, weights, rounds, why it stopped."""

    def decision_function(self, X: object) -> Floats:
        """X w + b in float64: shape (n,), or (n, K) for a multinomial model.

        X (n, d): anything that numpy can read as numbers. Raises InvalidInput for another number of columns or a
        cell that is not finite.
        """
        rows = self._checked(X)
        z = np.empty((len(rows), *self.intercept.shape))
        for start in range(0, len(rows), ROWS_AT_ONCE):
            block = rows[start : start + ROWS_AT_ONCE].astype(np.float64)
            z[start : start + ROWS_AT_ONCE] = block @ self.coefficients + self.intercept
        self._refuse_not_finite(rows, z)
        return z

    def predict(self, X: object) -> NDArray[Any]:
        """The value, or the most probable class as it is written in the data; shape (n,). Raises InvalidInput."""
        z = self.decision_function(X)
        if self.classes is None:
            return z
        index = (z > 0).astype(np.int64) if z.ndim == 1 else z.argmax(axis=1)
        predicted: NDArray[Any] = label_array(self.classes)[index]
        return predicted

    def predict_proba(self, X: object) -> Floats:
        """Probability of each class in the order of ``classes``; shape (n, K). Raises InvalidInput."""
        if self.classes is None:
            raise InvalidInput(
                "predict_proba", f"a regression on {self.target!r} has no classes; use predict"
            )
        return probabilities(self.decision_function(X))

    def scores(self, X: object, y: object, weight: object = None) -> dict[str, float]:
        """accuracy, log_loss and roc_auc of a classifier; r2, rmse and mae of a regression.

        X (n, d), y (n,) as in the data, weight (n,) or None = 1 each. Raises InvalidInput.
        """
        predicted = self.decision_function(X) if self.classes is None else self.predict_proba(X)
        truth = _column("y", np.asarray(y) if self.classes is not None else _numbers("y", y), len(predicted))
        s = None if weight is None else _column("weight", _numbers("weight", weight), len(predicted))
        if self.classes is None:
            center = float(truth.mean()) if len(truth) else 0.0
            return regression_scores(regression_sums(truth, predicted, s, center))
        return classification_scores(classification_sums(self._class_index(truth), predicted, s))

    @property
    def parameters_sha256(self) -> str:
        """Fingerprint of the coefficients and the intercept: equal exactly when all bits are."""
        return sha256({"coefficients": self.coefficients, "intercept": self.intercept})

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
        arrays = {"coefficients": self.coefficients, "intercept": self.intercept}
        return model_file.encode(self.kind, header, arrays)

    @staticmethod
    def from_bytes(data: bytes) -> "Model":
        """The model in the bytes of a model file. Raises ModelFileError."""
        file = model_file.decode(data)
        if file.kind not in KINDS:
            known = ", ".join(sorted(KINDS))
            raise ModelFileError(f"the file holds a model of kind {file.kind!r}; this release reads: {known}")
        try:
            return KINDS[file.kind].from_file(file)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"the header of the model file is not complete: {error!r}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model file; a reader sees the old file or the new one, never half of it."""
        model_file.write_atomically(Path(path), self.to_bytes())

    def to_sklearn(self) -> Any:
        """The same model as a fitted scikit-learn LogisticRegression or Ridge. Raises InvalidInput without it."""
        from gradloom.sklearn_models import to_sklearn

        return to_sklearn(self)

    @classmethod
    def from_file(cls, file: model_file.ModelFile) -> "Model":
        """The model in the parts of a model file. Raises KeyError, TypeError or ValueError if some are missing."""
        header = file.header
        classes = header["classes"]
        model = cls(
            algorithm=str(header["algorithm"]),
            version=int(header["version"]),
            features=tuple(header["features"]),
            target=str(header["target"]),
            classes=None if classes is None else tuple(classes),
            coefficients=file.arrays["coefficients"],
            intercept=file.arrays["intercept"],
            settings=dict(header["settings"]),
            metadata=dict(header["metadata"]),
        )
        expected = (len(model.features), *model.intercept.shape)
        if model.coefficients.shape != expected:
            raise ValueError(f"coefficients of shape {model.coefficients.shape}, not {expected}")
        return model

    def _checked(self, X: object) -> NDArray[Any]:
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

    def _names(self) -> str:
        shown = ", ".join(self.features[:8])
        return shown if len(self.features) <= 8 else f"{shown}, ... {self.features[-1]}"

    def _refuse_not_finite(self, rows: NDArray[Any], z: Floats) -> None:
        good = np.isfinite(z) if z.ndim == 1 else np.isfinite(z).all(axis=1)
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

    def _class_index(self, truth: NDArray[Any]) -> NDArray[np.int64]:
        assert self.classes is not None
        try:
            return encode_labels(truth, self.classes)
        except ValueError as error:
            raise DataError(self.target, str(error)) from error


KINDS: dict[str, type[Model]] = {Model.kind: Model}
"""What a model file may hold."""


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model file. Raises NotFound, and ModelFileError for one that is cut short, foreign or too new."""
    return Model.from_bytes(model_file.read(Path(path)))


def _numbers(name: str, values: object) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(name, f"is not a column of numbers: {error}") from error


def _column(name: str, values: NDArray[Any], n_rows: int) -> NDArray[Any]:
    if values.size != n_rows:
        raise InvalidInput(name, f"has {values.size} values, but X has {n_rows} rows")
    return values.reshape(-1)


def probabilities(z: Floats) -> Floats:
    """Class probabilities of logits: (n,) log-odds of the second of two classes, or (n, K); returns (n, K)."""
    if z.ndim == 1:
        odds = np.exp(-np.abs(z))
        likely, unlikely = 1.0 / (1.0 + odds), odds / (1.0 + odds)
        return np.stack([np.where(z > 0, unlikely, likely), np.where(z > 0, likely, unlikely)], axis=1)
    e: Floats = np.exp(z - z.max(axis=1, keepdims=True))
    e /= e.sum(axis=1, keepdims=True)
    return e


def label_array(classes: Labels) -> NDArray[Any]:
    """The classes as an array (K,): text, whole numbers as int64, or float64."""
    labels = np.asarray(classes)
    whole = labels.dtype.kind == "f" and bool(np.all(labels == np.floor(labels)))
    return labels.astype(np.int64) if whole else labels
