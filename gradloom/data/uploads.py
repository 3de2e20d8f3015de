"""Data from memory as one NPZ file that workers can read.

The file is the one that ``gradloom.data.sources.npz`` describes. Nothing here knows where it goes.
"""

from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.sources.npz import COLUMNS_NAME, TARGET_NAMES, WEIGHT_NAMES
from gradloom.data.upload_names import ColumnNames
from gradloom.errors import InvalidInput


def write_data(
    file: IO[bytes],
    X: object,
    y: object = None,
    sample_weight: object = None,
    feature_names: Sequence[str] | None = None,
) -> ColumnNames:
    """Write rows as an NPZ file, without a copy of an array that numpy can write as it is.

    X (n, d): numbers, as an array, a data frame (whose columns give the names) or a scipy.sparse matrix, which is
    written by rows and stays sparse in the file. y (n,): numbers, or text. sample_weight (n,): numbers.
    Raises InvalidInput naming the argument.
    """
    matrix, (rows, width) = _matrix(X)
    names = _feature_names(X, feature_names, width)
    members, target, weight = dict(matrix), "", ""
    if y is not None:
        target = _free(TARGET_NAMES, names, "y")
        members[target] = _column("y", _target(y), rows)
    if sample_weight is not None:
        weight = _free(WEIGHT_NAMES, names, "sample_weight")
        members[weight] = _column("sample_weight", _numbers("sample_weight", sample_weight), rows)
    if names is not None:
        members[COLUMNS_NAME] = np.asarray(names, dtype=np.str_)
    np.savez(file, allow_pickle=False, **members)
    return ColumnNames(target, weight)


def _matrix(X: object) -> tuple[dict[str, Any], tuple[int, int]]:
    """The members that hold X, and its shape."""
    if hasattr(X, "tocsr"):  # any of scipy's sparse matrices and arrays
        csr = X.tocsr()
        parts = {"data": csr.data, "indices": csr.indices, "indptr": csr.indptr}
        return {**parts, "shape": np.asarray(csr.shape), "format": np.asarray(b"csr")}, csr.shape
    matrix = _numbers("X", X)
    if matrix.ndim != 2:
        raise InvalidInput("X", f"has the shape {matrix.shape}; needed are rows of columns (n, d)")
    return {"X": matrix}, matrix.shape


def _numbers(name: str, values: object) -> NDArray[Any]:
    """Numbers in the type that they have; anything else as float64 where it can be read so."""
    try:
        array = np.asarray(values)
        return array if array.dtype.kind in "fiub" else array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(name, f"holds something that is no number: {error}") from error


def _target(y: object) -> NDArray[Any]:
    """Numbers or text; Python objects become text if every one is."""
    values = np.asarray(y)
    if values.dtype.kind in "fiubU":
        return values
    if values.dtype.kind in "OT" and all(isinstance(value, str) for value in values.reshape(-1)):
        return values.astype(np.str_)
    return _numbers("y", values)


def _column(name: str, values: NDArray[Any], rows: int) -> NDArray[Any]:
    if values.shape not in ((rows,), (rows, 1)):
        raise InvalidInput(name, f"has the shape {values.shape}; X has {rows} rows, so needed is ({rows},)")
    return values.reshape(rows)


def _feature_names(X: object, given: Sequence[str] | None, width: int) -> list[str] | None:
    columns = getattr(X, "columns", None) if given is None else given
    if columns is None:
        return None
    names = [str(name) for name in columns]
    if len(names) != width:
        raise InvalidInput("feature_names", f"are {len(names)} names, and X has {width} columns")
    if len(set(names)) < width:
        twin = next(name for name in names if names.count(name) > 1)
        raise InvalidInput("feature_names", f"{twin!r} is there more than once")
    return names


def _free(names: Sequence[str], taken: Sequence[str] | None, role: str) -> str:
    for name in names:
        if name not in (taken or ()):
            return name
    raise InvalidInput(
        "feature_names", f"can't be {', '.join(names)} all at once: one must be left for {role}"
    )
