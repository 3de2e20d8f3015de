"""From raw rows to rows that a kernel can run on: split, encode the target, standardise, cast."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.shard import Labels, RawShard, Rows, Shard

ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Split:
    """How rows are dealt into train, validation and test: by a seeded hash of the row's position."""

    seed: int = 0
    validation_fraction: float = 0.0
    test_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class Preparation:
    """What happens to every row of a job before it is computed on; the same on every worker."""

    split: Split
    dtype: str
    """``float32`` or ``float64``: dtype of X."""
    classes: Labels | None
    """Class labels in order, or None in a regression."""
    center: tuple[float, ...]  # (d,) subtracted from each column; () = leave as it is
    scale: tuple[float, ...]  # (d,) then divided by; () = leave as it is
    class_weights: tuple[
        float, ...
    ]  # (K,) multiplied into the weights of train and validation rows; () = none


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An uninitialised C-contiguous array whose first element lies on a 64-byte boundary.

    BLAS and numpy may choose other code, hence other rounding, for other alignments.
    """
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    buffer = np.empty(n_bytes + ALIGNMENT_BYTES, dtype=np.uint8)
    offset = -buffer.ctypes.data % ALIGNMENT_BYTES
    return buffer[offset : offset + n_bytes].view(dtype).reshape(shape)


def row_parts(split: Split, first_row: int, n_rows: int) -> NDArray[np.int8]:
    """Which part each row belongs to: 0 train, 1 validation, 2 test; shape (n_rows,).

    u = splitmix64(seed, row) / 2^64;  test if u < test_fraction, validation if u < both fractions, else train.
    It depends on the seed and the row's position alone, never on shards or workers.
    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    row = np.arange(first_row, first_row + n_rows, dtype=np.uint64)
    # In Python integers: numpy warns where a product of two uint64 scalars wraps around, as it must here.
    stream = np.uint64(split.seed * 0xD1342543DE82EF95 % 2**64)
    z = (row + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + stream
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    u = (z ^ (z >> np.uint64(31))).astype(np.float64) * 2.0**-64
    parts = np.zeros(n_rows, dtype=np.int8)
    parts[u < split.test_fraction + split.validation_fraction] = 1
    parts[u < split.test_fraction] = 2
    return parts


def prepare(raw: RawShard, preparation: Preparation) -> Shard:
    """Split, encode and standardise one shard. Values were checked when the data was profiled."""
    parts = row_parts(preparation.split, raw.first_row, raw.X.shape[0])
    y = _encode_target(raw, preparation.classes)
    return Shard(
        index=raw.index,
        train=_rows(raw, y, parts == 0, preparation, weigh_classes=True),
        validation=_rows(raw, y, parts == 1, preparation, weigh_classes=True),
        test=_rows(raw, y, parts == 2, preparation, weigh_classes=False),
    )


def _encode_target(raw: RawShard, classes: Labels | None) -> NDArray[Any]:
    if raw.y is None:
        return np.zeros(raw.X.shape[0])
    if classes is None:
        return raw.y.astype(np.float64)
    return encode_labels(raw.y, classes)


def encode_labels(y: NDArray[Any], classes: Labels) -> NDArray[np.int64]:
    """Index of each label in ``classes``; shape (n,). Raises ValueError for a label that is none of them."""
    as_text = bool(classes) and isinstance(classes[0], str)
    values = np.asarray([label_text(v) for v in y], dtype=object) if as_text else y.astype(np.float64)
    lookup = {label: i for i, label in enumerate(classes)}
    unique, inverse = np.unique(values, return_inverse=True)
    try:
        indices = np.array([lookup[label] for label in unique.tolist()], dtype=np.int64)
    except KeyError as error:
        raise ValueError(f"label {error.args[0]!r} is not one of the {len(classes)} classes") from None
    return indices[inverse.reshape(-1)] if len(unique) else np.zeros(0, dtype=np.int64)


def label_text(value: object) -> str:
    """A label as text; a whole number loses its ``.0``, so that 1 and "1" are one class."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _rows(
    raw: RawShard,
    y: NDArray[Any],
    chosen: NDArray[np.bool_],
    preparation: Preparation,
    *,
    weigh_classes: bool,
) -> Rows:
    X = raw.X[chosen]
    if preparation.center:
        X -= np.asarray(preparation.center)
    if preparation.scale:
        X /= np.asarray(preparation.scale)
    out = aligned_empty(X.shape, np.dtype(preparation.dtype))
    out[...] = X
    y = y[chosen]
    weight = None if raw.weight is None else raw.weight[chosen]
    if weigh_classes and preparation.class_weights:
        per_row = np.asarray(preparation.class_weights)[y]
        weight = per_row if weight is None else weight * per_row
    return Rows(out, y, weight, raw.first_row + np.flatnonzero(chosen))
