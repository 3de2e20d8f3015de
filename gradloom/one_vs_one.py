"""One against one: K classes as P = K (K - 1) / 2 machines of two classes each, laid out as libsvm does. Pure.

The pairs come in the order (0, 1), (0, 2), .. (1, 2), ..; the first class of a pair is its positive side. A row of
class c has one dual coefficient for each of the K - 1 other classes, in their order: ``column_of(c, other)``.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.kernels import Kernel, Matrix
from gradloom.scores import classification_scores, classification_sums
from gradloom.tensors import Tensors

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
ENTRIES_AT_ONCE = 1 << 22
"""Kernel values that are held at once while rows are decided: 16-32 MiB."""


@lru_cache(maxsize=64)
def pairs_of(n_classes: int) -> tuple[tuple[int, int], ...]:
    """The pairs of classes in their order."""
    return tuple(combinations(range(n_classes), 2))


def n_pairs(n_classes: int) -> int:
    """How many pairs there are."""
    return n_classes * (n_classes - 1) // 2


def column_of(class_: int, other: int) -> int:
    """Where a row of ``class_`` keeps its coefficient of the machine against ``other``."""
    return other if other < class_ else other - 1


@lru_cache(maxsize=1024)
def pairs_with(class_: int, n_classes: int) -> Indices:
    """Index of the pair with each other class, in the order of the columns; (K - 1,), read-only."""
    index = {pair: i for i, pair in enumerate(pairs_of(n_classes))}
    others = [other for other in range(n_classes) if other != class_]
    found = np.array([index[min(class_, o), max(class_, o)] for o in others], dtype=np.int64)
    found.flags.writeable = False
    return found


@lru_cache(maxsize=1024)
def signs_of(class_: int, n_classes: int) -> Floats:
    """+1 where ``class_`` is the positive side of the pair, -1 where it is the negative; (K - 1,), read-only."""
    signs = np.array([1.0 if class_ < o else -1.0 for o in range(n_classes) if o != class_])
    signs.flags.writeable = False
    return signs


@dataclass(frozen=True, slots=True, eq=False)
class Expansion:
    """All machines at once: f_p(x) = sum_i c_ip k(x_i, x) + b_p.

    With ``counts`` the rows are sorted by class, and a row has coefficients in the K - 1 machines of its class
    alone. Without (shape (0,)) every row has one in every machine: rows that stand for others, as landmarks do.
    """

    rows: Matrix  # (m, d)
    coefficients: Floats  # (m, K - 1), or (m, P)
    counts: Indices  # (K,) rows of each class, or (0,)
    intercept: Floats  # (P,)

    def with_rows(self, rows: Matrix) -> "Expansion":
        """The same coefficients on other rows, say centred ones."""
        return replace(self, rows=rows)

    def decisions(self, kernel: Kernel, X: Matrix, n_classes: int) -> Floats:
        """f_p(x) of each row of X (n, d); (n, P) float64, above 0 for the first class of the pair."""
        out = np.empty((len(X), len(self.intercept)))
        with np.errstate(over="ignore", invalid="ignore"):
            for start, K in self._blocks(kernel, X):
                out[start : start + len(K)] = self._decided(K, n_classes)
        out += self.intercept
        return out

    def margins(self, kernel: Kernel, X: Matrix, class_: int, n_classes: int) -> Floats:
        """y f_p(x) of rows of one class in the machines of that class alone: (n, K - 1), each wants to be >= 1.

        Only with ``counts``.
        """
        out = np.empty((len(X), n_classes - 1))
        with np.errstate(over="ignore", invalid="ignore"):
            for start, K in self._blocks(kernel, X):
                out[start : start + len(K)] = self._decided_for(K, class_, n_classes)
        out += self.intercept[pairs_with(class_, n_classes)]
        out *= signs_of(class_, n_classes)
        return out

    def _blocks(self, kernel: Kernel, X: Matrix) -> Any:
        at_once = max(1, ENTRIES_AT_ONCE // max(1, len(self.rows)))
        for start in range(0, len(X), at_once):
            yield start, kernel.matrix(X[start : start + at_once], self.rows).astype(np.float64, copy=False)

    def _decided(self, K: Floats, n_classes: int) -> Floats:
        if not len(self.counts):
            return K @ self.coefficients
        f = np.zeros((len(K), len(self.intercept)))
        for class_, rows in enumerate(class_slices(self.counts)):
            f[:, pairs_with(class_, n_classes)] += K[:, rows] @ self.coefficients[rows]
        return f

    def _decided_for(self, K: Floats, class_: int, n_classes: int) -> Floats:
        slices = class_slices(self.counts)
        f = K[:, slices[class_]] @ self.coefficients[slices[class_]]
        for other in range(n_classes):
            if other != class_:
                theirs = self.coefficients[slices[other], column_of(other, class_)]
                f[:, column_of(class_, other)] += K[:, slices[other]] @ theirs
        return f


def class_slices(counts: Indices) -> list[slice]:
    """Where the rows of each class lie among rows that are sorted by class."""
    ends = np.cumsum(counts).tolist()
    return [slice(end - count, end) for end, count in zip(ends, counts.tolist(), strict=True)]


def winners(decisions: Floats, n_classes: int) -> Indices:
    """The class with the most votes, the first of them where several have; decisions (n, P), returns (n,).

    A machine votes for its first class where f > 0, else for its second. Source: svm_predict_values of libsvm.
    """
    return np.asarray(_votes(decisions > 0, n_classes).argmax(axis=1), dtype=np.int64)


def one_vs_rest(decisions: Floats, n_classes: int) -> Floats:
    """One number a class, (n, K): its votes, and less than half a vote of how sure they were.

    votes_c + s_c / (3 (|s_c| + 1)), s_c the sum of y f_p over the machines of c. Source: scikit-learn's
    decision_function_shape="ovr".
    """
    sure = np.zeros((len(decisions), n_classes))
    for class_ in range(n_classes):
        sure[:, class_] = decisions[:, pairs_with(class_, n_classes)] @ signs_of(class_, n_classes)
    return _votes(decisions >= 0, n_classes) + sure / (3.0 * (np.abs(sure) + 1.0))


def _votes(for_first: NDArray[np.bool_], n_classes: int) -> Floats:
    votes = np.zeros((len(for_first), n_classes))
    for p, (first, second) in enumerate(pairs_of(n_classes)):
        votes[:, first] += for_first[:, p]
        votes[:, second] += ~for_first[:, p]
    return votes


def decision_sums(y: NDArray[Any], decisions: Floats, n_classes: int, weight: Floats | None) -> Tensors:
    """Sums for ``decision_scores``: y (n,) class index, decisions (n, P), weight (n,) or None = 1 each."""
    chosen = winners(decisions, n_classes)
    if n_classes == 2:
        odds = np.exp(-np.abs(decisions[:, 0]))  # any rising function of f will do for the order of the rows
        first = np.where(decisions[:, 0] > 0, 1.0, odds) / (1.0 + odds)
        stand_in = np.stack([first, 1.0 - first], axis=1)
    else:
        stand_in = np.eye(n_classes)[chosen]
    s = np.ones(len(y)) if weight is None else weight
    return {**classification_sums(y, stand_in, weight), "correct": np.asarray(s[chosen == y].sum())}


def decision_scores(total: Tensors) -> dict[str, float]:
    """``accuracy`` and, with two classes, ``roc_auc``; {} without rows. There are no probabilities to score."""
    scores = classification_scores(total)
    scores.pop("log_loss", None)
    return scores
