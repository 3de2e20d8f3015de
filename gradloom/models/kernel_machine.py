"""A kernel machine: support vectors (or landmarks), their coefficients, and a vote between pairs of classes."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradloom.kernels import Kernel
from gradloom.models.model import Floats, Model, column, label_array, numbers
from gradloom.one_vs_one import (
    Expansion,
    decision_scores,
    decision_sums,
    n_pairs,
    one_vs_rest,
    winners,
)  # fmt: skip
from gradloom.tensors import Tensors

ROWS_AT_ONCE = 8192
"""Rows are turned to float64 in blocks, so that predicting needs little memory beside X."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class KernelMachine(Model):
    """f_p(x) = sum_i c_ip k(x_i, (x - center) / scale) + b_p for each pair p of classes; the most votes win.

    The kernel's name, degree and coef0 are settings; everything is computed in float64.
    """

    kind: ClassVar[str] = "kernel_machine"

    support_vectors: NDArray[Any]  # (m, d), on the columns of the training, in the dtype of the training
    coefficients: Floats  # (m, K - 1) as libsvm lays them out, or (m, P) of landmarks
    support_counts: NDArray[np.int64]  # (K,) support vectors of each class, or (0,) of landmarks
    support_positions: NDArray[np.int64]  # (m,) which row of the data set each of them is
    intercept: Floats  # (P,)
    gamma: Floats  # ()
    center: Floats  # (d,), or (0,) where columns stay as they are
    scale: Floats  # (d,), or (0,)

    @property
    def arrays(self) -> Tensors:
        """Support vectors, coefficients, intercepts, and what happens to a row before the kernel sees it."""
        names = (
            "support_vectors", "coefficients", "support_counts", "support_positions", "intercept",
            "gamma", "center", "scale",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def check_arrays(self) -> None:
        """Shapes that fit columns and classes, and settings that name a kernel."""
        n_classes, (m, d) = len(self.classes or ()), self.support_vectors.shape
        pairs = n_pairs(n_classes)
        wide = n_classes - 1 if len(self.support_counts) else pairs
        shapes = {
            "support_vectors": ((m, d), (m, len(self.features))),
            "coefficients": (self.coefficients.shape, (m, wide)),
            "intercept": (self.intercept.shape, (pairs,)),
            "support_positions": (self.support_positions.shape, (m,)),
        }
        for name, (given, needed) in shapes.items():
            if given != needed:
                raise ValueError(f"{name} of shape {given}, not {needed}")
        if len(self.support_counts) and self.support_counts.sum() != m:
            raise ValueError(f"support_counts add up to {self.support_counts.sum()}, not {m}")
        _ = self.kernel

    @property
    def kernel(self) -> Kernel:
        """The kernel with its numbers."""
        name = str(self.settings["kernel"])
        if name not in ("rbf", "poly", "linear", "sigmoid"):
            raise ValueError(f"a kernel {name!r}")
        degree, coef0 = int(str(self.settings["degree"])), float(str(self.settings["coef0"]))
        return Kernel(name, float(self.gamma), degree, coef0)  # type: ignore[arg-type]  # one of four

    @property
    def from_landmarks(self) -> bool:
        """Whether the rows are landmarks of an approximation, and no support vectors."""
        return not len(self.support_counts)

    def pair_decisions(self, X: object) -> Floats:
        """f_p of every pair of classes, (n, P), above 0 for the first of the two. Raises InvalidInput."""
        rows, support = self.checked(X), self.support_vectors.astype(np.float64)
        middle = np.zeros(support.shape[1])
        if self.kernel.name == "rbf" and len(support):  # far from the origin distances lose digits
            middle = support.mean(axis=0)
        machines = Expansion(support - middle, self.coefficients, self.support_counts, self.intercept)
        f = np.empty((len(rows), len(self.intercept)))
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            prepared = self._prepared(rows[part].astype(np.float64)) - middle
            f[part] = machines.decisions(self.kernel, prepared, len(self.classes or ()))
        self.refuse_not_finite(rows, np.where(np.isfinite(rows).all(axis=1), f.sum(axis=1), np.nan))
        return f

    def decision_function(self, X: object) -> Floats:
        """As scikit-learn's SVC: (n,) with two classes, above 0 for the second; else (n, K), or (n, P) for "ovo".

        X (n, d): anything that numpy can read as numbers. Raises InvalidInput for another number of columns or a
        cell that is not finite.
        """
        return self._shaped(self.pair_decisions(X))

    def _prepared(self, rows: Floats) -> Floats:
        """Rows as the training had them."""
        if len(self.center):
            rows -= self.center
        if len(self.scale):
            rows /= self.scale
        return rows

    def _shaped(self, f: Floats) -> Floats:
        n_classes = len(self.classes or ())
        if n_classes == 2:
            return -f[:, 0]
        if self.settings.get("decision_function_shape", "ovr") == "ovo":
            return f
        return one_vs_rest(f, n_classes)

    def predict(self, X: object) -> NDArray[Any]:
        """The class that wins the votes, as it is written in the data; (n,). Raises InvalidInput."""
        assert self.classes is not None
        f, n_classes = self.pair_decisions(X), len(self.classes)
        by_sureness = bool(self.settings.get("break_ties", False)) and n_classes > 2
        index = one_vs_rest(f, n_classes).argmax(axis=1) if by_sureness else winners(f, n_classes)
        predicted: NDArray[Any] = label_array(self.classes)[index]
        return predicted

    def scores(self, X: object, y: object, weight: object = None) -> dict[str, float]:
        """accuracy and, with two classes, roc_auc.

        X (n, d), y (n,) as in the data, weight (n,) or None = 1 each. Raises InvalidInput.
        """
        f = self.pair_decisions(X)
        truth = self.class_index(column("y", np.asarray(y), len(f)))
        s = None if weight is None else column("weight", numbers("weight", weight), len(f))
        return decision_scores(decision_sums(truth, f, len(self.classes or ()), s))

    def to_sklearn(self) -> Any:
        """The same machine as a fitted SVC, behind a StandardScaler where columns were standardised.

        Raises InvalidInput without scikit-learn, and for landmarks of more than two classes: no SVC holds those.
        """
        from gradloom.models.kernel_machine_sklearn import to_sklearn

        return to_sklearn(self)
