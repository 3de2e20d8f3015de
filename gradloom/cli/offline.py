"""``gradloom predict`` and ``gradloom evaluate``: a model file on data files, in this process, without a cluster.

Shard by shard, so that data larger than memory passes through. An output file appears whole or not at all.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from gradloom.cli.training import check_writable
from gradloom.data.planning import build_manifest
from gradloom.data.preparation import encode_labels, label_text
from gradloom.data.reading import iterate_raw
from gradloom.data.shard import Labels, RawShard
from gradloom.errors import DataError, InvalidInput
from gradloom.models import Model
from gradloom.models.unlabelled import Unlabelled
from gradloom.scores import classification_scores, classification_sums, regression_scores, regression_sums
from gradloom.tensors import Tensors, sum_tensors
from gradloom.whole_files import whole_file

_WRITERS = {".csv": pyarrow.csv.CSVWriter, ".parquet": pyarrow.parquet.ParquetWriter}


def check_output(out: Path) -> None:
    """Refuse an output file of an unknown kind, or in a folder that can't be written. Raises InvalidInput."""
    if out.suffix.lower() not in _WRITERS:
        allowed = " or ".join(_WRITERS)
        raise InvalidInput("out", f"{out.name!r} is not allowed; the name must end in {allowed}")
    check_writable(out)


class Predictor(Protocol):
    """A model, or what stands for one."""

    @property
    def features(self) -> tuple[str, ...]:
        """Columns of X, in order."""
        ...

    @property
    def classes(self) -> Labels | None:
        """None where there are none."""
        ...

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """The value or the class of each row."""
        ...

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Probability of each class."""
        ...


def predict(model: Predictor, uris: Sequence[str], data_format: str | None, out: Path) -> int:
    """Write one line of predictions for each row, in order, and return their number.

    Columns: ``prediction``, and in a classification ``proba_<class>`` for each class; or coordinates, by their
    names. Raises DataError naming the column and row of a cell that is missing.
    """
    manifest = build_manifest(uris, format=data_format, features=model.features, target_optional=True)
    schema = _schema(model)
    with whole_file(out, None) as file, _WRITERS[out.suffix.lower()](file, schema) as writer:
        for shard in iterate_raw(manifest):
            check_cells(shard, model.features, missing_allowed=_takes_missing(model))
            writer.write_batch(pa.record_batch(_columns(model, shard.X), schema=schema))
    return manifest.rows


def evaluate(
    model: Model, uris: Sequence[str], data_format: str | None, target: str
) -> tuple[int, dict[str, float]]:
    """Rows and scores of a model on data whose truth is known.

    ``target`` is the column of the truth; empty = the one that the model was trained on. A model that has learnt
    without one needs none. Raises DataError naming the column and row of a cell that is missing, or of a label that
    the model does not know; InvalidInput for a target that means nothing.
    """
    if isinstance(model, Unlabelled):
        return _evaluate_unlabelled(model, uris, data_format, target)
    truth = target or model.target
    manifest = build_manifest(uris, format=data_format, features=model.features, target=truth or None)
    center, total = 0.0, None
    for shard in iterate_raw(manifest):
        check_cells(shard, model.features)
        y = _truth(shard, truth)
        if total is None and model.classes is None:
            center = float(y.mean())
        sums = _sums(model, shard, y, truth, center)
        total = sums if total is None else sum_tensors(total, sums)
    assert total is not None, "a manifest has at least one shard"
    return manifest.rows, regression_scores(total) if model.classes is None else classification_scores(total)


def _evaluate_unlabelled(
    model: Unlabelled, uris: Sequence[str], data_format: str | None, target: str
) -> tuple[int, dict[str, float]]:
    if target:
        raise InvalidInput(
            "target", f"{target!r} means nothing to {model.algorithm}, which has learnt without one"
        )
    manifest = build_manifest(uris, format=data_format, features=model.features, unsupervised=True)
    total: dict[str, float] = {}
    for shard in iterate_raw(manifest):
        check_cells(shard, model.features, missing_allowed=model.missing_allowed)
        for name, value in model.score_sums(shard.X).items():
            total[name] = total.get(name, 0.0) + value
    return manifest.rows, model.scores_of(total)


def _takes_missing(model: Predictor) -> bool:
    return isinstance(model, Unlabelled) and model.missing_allowed


def check_cells(shard: RawShard, features: Sequence[str], *, missing_allowed: bool = False) -> None:
    """Raise DataError for the first cell that is missing, unless that is allowed, or infinite."""
    bad = np.argwhere(np.isinf(shard.X) if missing_allowed else ~np.isfinite(shard.X))
    if len(bad):
        i, j = bad[0]
        what = "has no value" if np.isnan(shard.X[i, j]) else "is infinite"
        raise DataError(
            f"column {features[j]!r}", f"row {shard.first_row + i} {what} (rows are counted from 0)"
        )


def _truth(shard: RawShard, target: str) -> NDArray[Any]:
    assert shard.y is not None, "the manifest names a target"
    missing = np.array(
        [value is None or value != value for value in shard.y.tolist()]
    )  # NaN differs from itself
    if missing.any():
        row = shard.first_row + int(missing.argmax())
        raise DataError(f"column {target!r}", f"row {row} has no value (rows are counted from 0)")
    return shard.y


def _sums(model: Model, shard: RawShard, y: NDArray[Any], target: str, center: float) -> Tensors:
    try:
        if model.classes is None:
            return regression_sums(y.astype(np.float64), model.predict(shard.X), None, center)
        return classification_sums(encode_labels(y, model.classes), model.predict_proba(shard.X))
    except ValueError as error:  # text where numbers are needed, or a label that the model does not know
        last = shard.first_row + len(shard.X) - 1
        raise DataError(f"column {target!r}", f"rows {shard.first_row} to {last}: {error}") from error


def _schema(model: Predictor) -> pa.Schema:
    if isinstance(model, Unlabelled):
        coordinates = [(name, pa.float64()) for name in model.outputs]
        return pa.schema(coordinates or [("prediction", pa.int64())])
    fields = [("prediction", _label_type(model.classes))]
    return pa.schema(fields + [(f"proba_{label_text(label)}", pa.float64()) for label in model.classes or ()])


def _label_type(classes: Labels | None) -> pa.DataType:
    if not classes:
        return pa.float64()
    if isinstance(classes[0], str):
        return pa.string()
    return pa.int64() if all(float(label).is_integer() for label in classes) else pa.float64()


def _columns(model: Predictor, X: NDArray[np.float64]) -> list[pa.Array]:
    predicted = model.predict(X)
    columns: list[NDArray[Any]] = [predicted] if predicted.ndim == 1 else list(predicted.T)
    if model.classes:
        columns += list(model.predict_proba(X).T)
    types = [field.type for field in _schema(model)]
    # a value that is missing in the data is missing in the file as well, not a NaN
    return [
        pa.array(values, from_pandas=True).cast(kind) for values, kind in zip(columns, types, strict=True)
    ]
