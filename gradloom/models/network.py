"""A neural network: weights and biases of its layers, on raw columns."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import InvalidInput
from gradloom.models.model import Floats, Model, label_array, probabilities
from gradloom.networks import ACTIVATIONS, Architecture, Layer, Layout, Passes
from gradloom.tensors import Tensors

ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Network(Model):
    """Fully connected layers; what the last one puts out is a value, the log-odds of two classes, or logits."""

    kind: ClassVar[str] = "network"

    parameters: Floats  # (P,): layer by layer, weights (fan_in, fan_out) row by row, then bias (fan_out,)
    sizes: NDArray[np.int64]  # (L,): columns, units of each hidden layer, outputs

    @property
    def arrays(self) -> Tensors:
        """parameters and sizes."""
        return {"parameters": self.parameters, "sizes": self.sizes}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Weights and bias of each layer, as views."""
        return self._layout.split(self.parameters)

    @property
    def activation(self) -> str:
        """Of the hidden layers."""
        return str(self.settings["activation"])

    def check_arrays(self) -> None:
        """As many parameters as the sizes ask for, a column for each feature, an output for what is predicted."""
        if self.sizes.ndim != 1 or len(self.sizes) < 2 or self.sizes.min() < 1:
            raise ValueError(f"sizes {self.sizes.tolist()} are those of no network")
        n_classes = 0 if self.classes is None else len(self.classes)
        ends = (len(self.features), n_classes if n_classes > 2 else 1)
        if (int(self.sizes[0]), int(self.sizes[-1])) != ends:
            raise ValueError(
                f"sizes {self.sizes.tolist()} do not go from {ends[0]} columns to {ends[1]} outputs"
            )
        if self.parameters.shape != (self._layout.n_parameters,):
            raise ValueError(
                f"parameters of shape {self.parameters.shape}, not {(self._layout.n_parameters,)}"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"the activation {self.activation!r} is unknown")

    def decision_function(self, X: object) -> Floats:
        """What the last layer puts out, in float64: shape (n,), or (n, K) for more than two classes.

        X (n, d): anything that numpy can read as numbers. Raises InvalidInput for another number of columns or a
        cell that is not finite.
        """
        rows = self.checked(X)
        architecture = Architecture(self._layout, self.activation, "squared")  # type: ignore[arg-type]
        passes = Passes(architecture, np.dtype(np.float64), len(rows))
        z = np.empty((len(rows), int(self.sizes[-1])))
        for start in range(0, len(rows), ROWS_AT_ONCE):
            block = np.ascontiguousarray(rows[start : start + ROWS_AT_ONCE], dtype=np.float64)
            z[start : start + ROWS_AT_ONCE] = passes.outputs(block, self.parameters)
        answer = z[:, 0] if z.shape[1] == 1 else z
        self._refuse_bad_rows(rows, answer)
        return answer

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
            return Model.predict_proba(self, X)
        return probabilities(self.decision_function(X))

    def to_sklearn(self) -> Any:
        """The same model as a fitted MLPClassifier or MLPRegressor. Raises InvalidInput where there is none."""
        from gradloom.models.network_sklearn import to_sklearn

        if self.activation == "gelu":
            raise InvalidInput("to_sklearn", "scikit-learn has no networks with the activation 'gelu'")
        return to_sklearn(self)

    def _refuse_bad_rows(self, rows: NDArray[Any], answer: Floats) -> None:
        """A column that is not finite may be lost on its way: relu makes 0 of minus infinity."""
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            bad = np.isfinite(rows).all(axis=1)
            self.refuse_not_finite(rows, np.where(bad, 0.0, np.nan))
        self.refuse_not_finite(rows, answer)

    @property
    def _layout(self) -> Layout:
        return Layout(tuple(self.sizes.tolist()))
