"""Reading shards by their manifest: only the bytes that a shard needs, of the very files that were planned on."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.allowed import EVERYTHING, DataAllowed
from gradloom.data.manifest import Columns, DataFile, Manifest, ShardPlan
from gradloom.data.preparation import label_text
from gradloom.data.shard import RawShard
from gradloom.data.sources import source_of
from gradloom.data.sources.opening import fingerprint, open_file, size_of
from gradloom.errors import ShardChanged


def read_rows(
    files: Sequence[DataFile], columns: Columns, plan: ShardPlan, allowed: DataAllowed = EVERYTHING
) -> RawShard:
    """The rows of one shard, once its files have been checked.

    Raises ShardChanged if a file is another than when the job was planned, DataError for a cell that can't be
    understood, and DataNotAllowed.
    """
    check_fingerprints((files[i] for i in sorted({piece.file for piece in plan.pieces})), allowed)
    return _read(files, columns, plan, allowed)


def iterate_raw(manifest: Manifest) -> Iterator[RawShard]:
    """Every shard in order, with each file checked once; errors as in ``read_rows``."""
    check_fingerprints(manifest.files)
    for plan in manifest.shards:
        yield _read(manifest.files, manifest.columns, plan, EVERYTHING)


def check_fingerprints(files: Iterable[DataFile], allowed: DataAllowed = EVERYTHING) -> None:
    """Raise ShardChanged naming the first file that is not the one that was planned on."""
    for file in files:
        with open_file(file.uri, allowed) as opened:
            size = size_of(opened)
            if size != file.size_bytes:
                raise ShardChanged(
                    file.uri,
                    f"changed since the job was planned: it has {size} bytes, it had {file.size_bytes}",
                )
            if fingerprint(opened) != file.fingerprint:
                raise ShardChanged(file.uri, "changed since the job was planned: its content is another")


def _read(files: Sequence[DataFile], columns: Columns, plan: ShardPlan, allowed: DataAllowed) -> RawShard:
    parts = [
        source_of(files[piece.file].format).read(files[piece.file], piece, columns, allowed)
        for piece in plan.pieces
    ]
    targets = [part.y for part in parts if part.y is not None]
    weights = [part.weight for part in parts if part.weight is not None]
    return RawShard(
        index=plan.index,
        first_row=plan.first_row,
        X=_joined([part.X for part in parts]),
        y=_joined_target(targets) if targets else None,
        weight=_joined(weights) if weights else None,
    )


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _joined_target(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One target out of several; numbers beside text become text."""
    if any(part.dtype == object for part in parts):
        parts = [part if part.dtype == object else as_text(part) for part in parts]
    return _joined(parts)


def as_text(numbers: NDArray[np.float64]) -> NDArray[Any]:
    """Numeric labels as text; NaN becomes None."""
    texts = np.empty(len(numbers), dtype=object)
    texts[:] = [None if np.isnan(number) else label_text(number) for number in numbers]
    return texts
