"""The distinct labels of a target with their rows and weights, counted shard by shard and merged.

A continuous target has as many labels as rows: beyond ``MAX_LABELS`` only the fact is kept. Pure.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.preparation import label_text
from gradloom.tensors import Tensors

MAX_LABELS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class LabelCounts:
    """What is known of the labels of some rows; missing and infinite ones are left out."""

    labels: NDArray[Any]  # (L,) sorted; float64, or object array of str; empty if there are too many
    rows: NDArray[np.int64]  # (L,) train rows
    weight: NDArray[np.float64]  # (L,) sum of the weights of the train rows
    too_many: bool = False

    @property
    def is_text(self) -> bool:
        """Whether the labels are text."""
        return self.labels.dtype == object

    def as_text(self) -> "LabelCounts":
        """The same counts with labels as text."""
        if self.is_text:
            return self
        texts = _objects([label_text(number) for number in self.labels])
        order = np.argsort(texts)
        return LabelCounts(texts[order], self.rows[order], self.weight[order], self.too_many)

    def to_tensors(self) -> Tensors:
        """Named arrays of float64, int64 and uint8. Text is UTF-8, one label behind the other, with lengths."""
        encoded = [label.encode() for label in self.labels] if self.is_text else []
        return {
            "label_flags": np.array([self.is_text, self.too_many], dtype=np.uint8),
            "label_numbers": np.zeros(0) if self.is_text else self.labels,
            "label_bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8),
            "label_lengths": np.array([len(label) for label in encoded], dtype=np.int64),
            "label_rows": self.rows,
            "label_weight": self.weight,
        }

    @staticmethod
    def from_tensors(tensors: Tensors) -> "LabelCounts":
        """The inverse of ``to_tensors``."""
        is_text, too_many = tensors["label_flags"].astype(bool).tolist()
        labels = _decoded(tensors) if is_text else tensors["label_numbers"]
        return LabelCounts(labels, tensors["label_rows"], tensors["label_weight"], too_many)


def count_labels(y: NDArray[Any], train: NDArray[np.bool_], weight: NDArray[np.float64]) -> LabelCounts:
    """Count the labels of ``y`` (n,) over all rows; rows and weight over the train rows only."""
    labels, place = text_labels(y) if y.dtype == object else _number_labels(y)
    if len(labels) > MAX_LABELS:
        return _too_many(text=y.dtype == object)
    counted = train & (place >= 0)
    return LabelCounts(
        labels=labels,
        rows=np.bincount(place[counted], minlength=len(labels)).astype(np.int64),
        weight=np.bincount(place[counted], weights=weight[counted], minlength=len(labels)).astype(np.float64),
    )


def merge_labels(left: LabelCounts, right: LabelCounts) -> LabelCounts:
    """The labels of both; numbers beside text become text."""
    if left.is_text != right.is_text:
        left, right = left.as_text(), right.as_text()
    labels = np.union1d(left.labels, right.labels)
    if left.too_many or right.too_many or len(labels) > MAX_LABELS:
        return _too_many(text=left.is_text)
    rows, weight = np.zeros(len(labels), dtype=np.int64), np.zeros(len(labels))
    for side in (left, right):
        place = np.searchsorted(labels, side.labels)
        rows[place] += side.rows
        weight[place] += side.weight
    return LabelCounts(labels, rows, weight)


def text_labels(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The distinct texts of ``y``, sorted, and for each row the place of its own among them; -1 where missing."""
    import pyarrow as pa  # a tenth of a second, which no service needs before it is ready

    encoded = pa.array(y, type=pa.large_string()).dictionary_encode()
    texts = _objects(encoded.dictionary.to_pylist())
    order = np.argsort(texts)
    place_of = np.append(np.argsort(order), -1)  # the last one is for None
    return texts[order], place_of[encoded.indices.fill_null(-1).to_numpy()]


def _number_labels(y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    finite = np.isfinite(y)
    labels, place_of_finite = np.unique(y[finite], return_inverse=True)
    place = np.full(len(y), -1, dtype=np.int64)
    place[finite] = place_of_finite
    return labels, place


def _too_many(*, text: bool) -> LabelCounts:
    return LabelCounts(
        _objects([]) if text else np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0), too_many=True
    )


def _decoded(tensors: Tensors) -> NDArray[Any]:
    stops = np.cumsum(tensors["label_lengths"])
    data = tensors["label_bytes"].tobytes()
    starts = stops - tensors["label_lengths"]
    return _objects([data[start:stop].decode() for start, stop in zip(starts, stops, strict=True)])


def _objects(values: list[str]) -> NDArray[Any]:
    objects = np.empty(len(values), dtype=object)
    objects[:] = values
    return objects
