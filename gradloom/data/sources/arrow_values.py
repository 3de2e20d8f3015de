"""From Arrow columns to numpy: numbers as float64, targets as numbers or text.

No I/O. A missing value becomes NaN among numbers and None among text.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradloom.data.manifest import Columns
from gradloom.data.preparation import label_text
from gradloom.data.sources.cells import is_number, not_numeric
from gradloom.data.sources.source import Kind, Part
from gradloom.errors import DataError

TRANSPOSED_ROWS = 256


def kind_of(type_: Any) -> Kind:
    """What a column of this Arrow type can be used for."""
    types = pa.types
    if any(test(type_) for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)):
        return "numeric"
    if types.is_null(type_):
        return "numeric"
    value_type = type_.value_type if types.is_dictionary(type_) else type_
    if types.is_string(value_type) or types.is_large_string(value_type) or types.is_string_view(value_type):
        return "text"
    return "other"


def as_float64(column: Any, name: str, uri: str) -> NDArray[np.float64]:
    """A numeric column; null becomes NaN. Raises DataError for any other type."""
    if kind_of(column.type) != "numeric":
        raise not_numeric(name, str(column.type), uri)
    # safe=False: a whole number above 2^53 is rounded, as every float64 is.
    numbers = pc.cast(column, pa.float64(), safe=False)
    return np.asarray(
        numbers.to_numpy(zero_copy_only=False) if isinstance(numbers, pa.Array) else numbers.to_numpy()
    )


def as_target(column: Any, name: str, uri: str) -> NDArray[Any]:
    """A target: float64 from numbers, an object array of str and None from text."""
    kind = kind_of(column.type)
    if kind == "numeric":
        return as_float64(column, name, uri)
    if kind == "other":
        raise DataError(f"column {name!r}", f"is {column.type} in {uri}; a target must be numbers or text")
    return _objects(pc.cast(column, pa.string()).to_pylist())


def columns_read(columns: Columns) -> list[str]:
    """Features, then target and weight where they are named."""
    return [*columns.features, *(name for name in (columns.target, columns.weight) if name is not None)]


def part_of(table: Any, columns: Columns, y: NDArray[Any] | None, uri: str) -> Part:
    """Features and weight of an Arrow table as numpy arrays, beside a target that is read already."""
    by_column = np.empty((len(columns.features), table.num_rows))
    for j, name in enumerate(columns.features):
        by_column[j] = as_float64(table[name], name, uri)
    weight = None if columns.weight is None else as_float64(table[columns.weight], columns.weight, uri)
    return Part(_transposed(by_column), y, weight)


def _transposed(by_column: NDArray[np.float64]) -> NDArray[np.float64]:
    """(d, n) to C-contiguous (n, d), by blocks of rows: 10 times faster than at once where d is some hundreds."""
    out = np.empty(by_column.shape[::-1])
    for start in range(0, len(out), TRANSPOSED_ROWS):
        out[start : start + TRANSPOSED_ROWS] = by_column[:, start : start + TRANSPOSED_ROWS].T
    return out


def parse_labels(column: Any) -> NDArray[Any]:
    """Text cells as a target: float64 if every cell is a number, else text.

    Among text, a cell that is a number is written as ``label_text`` writes it ("01" and "1.0" are "1"): a piece
    that happens to hold numbers only gives the same labels, wherever the cuts between pieces fall.
    """
    try:
        return np.asarray(pc.cast(column, pa.float64()).to_numpy(), dtype=np.float64)
    except pa.ArrowInvalid:
        encoded = pa.chunked_array(column).combine_chunks().dictionary_encode()
    values = [_number_or_text(text) for text in encoded.dictionary.to_pylist()]
    numeric = all(isinstance(value, float) for value in values)
    if numeric:
        lookup: NDArray[Any] = np.array([*values, np.nan], dtype=np.float64)
    else:
        lookup = _objects([*(label_text(value) for value in values), None])
    labels: NDArray[Any] = lookup[encoded.indices.fill_null(len(values)).to_numpy()]
    return labels


def _number_or_text(text: str) -> float | str:
    return float(text) if is_number(text) else text


def _objects(values: list[str | None]) -> NDArray[Any]:
    objects = np.empty(len(values), dtype=object)
    objects[:] = values
    return objects
