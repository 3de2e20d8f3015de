"""Named numpy arrays: the one kind of value that is broadcast, mapped, merged and updated."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Tensors = Mapping[str, Array]


def sum_tensors(left: Tensors, right: Tensors) -> Tensors:
    """Add array by array: the merge of every algorithm whose partials are sums over rows.

    Both sides hold the same names, shapes and dtypes. Addition of two floats is commutative to the bit, but
    not associative: the order of a chain of merges is fixed by ``gradloom.canonical``.
    """
    assert left.keys() == right.keys(), f"partials differ in names: {sorted(left)} and {sorted(right)}"
    return {name: np.asarray(left[name] + right[name]) for name in left}


def rows_taken(partial: Tensors) -> int | None:
    """How many train rows a partial is over, where it says so by a scalar named ``rows``; None = all there are."""
    rows = partial.get("rows")
    return None if rows is None or rows.ndim else int(rows)


def byte_length(tensors: Tensors) -> int:
    """Bytes of all arrays together."""
    return sum(array.nbytes for array in tensors.values())


def sha256(tensors: Tensors) -> str:
    """Fingerprint of names, dtypes, shapes and bits: equal exactly when the arrays are bit-identical."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
