"""Models that are learnt without a target: how they are scored, and what they make of a row."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradloom.models.model import Floats, Model, column, numbers


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Unlabelled(Model):
    """A model whose rows have no truth to be compared with; its scores say how well it describes them."""

    missing_allowed: ClassVar[bool] = False
    """Whether cells may lack a value (NaN)."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the columns that ``predict`` gives; none where it is one whole number a row."""
        return ()

    @abstractmethod
    def score_sums(self, X: object, weight: object = None) -> Mapping[str, float]:
        """What the scores are made of, as sums over the rows of X (n, d): parts of a data set add up.

        weight (n,) or None = 1 each. Raises InvalidInput.
        """

    @staticmethod
    @abstractmethod
    def scores_of(sums: Mapping[str, float]) -> dict[str, float]:
        """The scores from their sums; {} without rows."""

    def scores(self, X: object, y: object = None, weight: object = None) -> dict[str, float]:  # noqa: ARG002
        """The scores of rows X (n, d); y is not looked at, weight (n,) or None = 1 each. Raises InvalidInput."""
        return self.scores_of(self.score_sums(X, weight))

    def finite(self, X: object) -> NDArray[Any]:
        """X as an array of numbers (n, d) whose rows have finite lengths. Raises InvalidInput."""
        rows = self.checked(X)
        with np.errstate(over="ignore", invalid="ignore"):
            self.refuse_not_finite(rows, np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        return rows


def row_weights(weight: object, n_rows: int) -> Floats:
    """An argument with a weight a row, 1 each for None; (n_rows,). Raises InvalidInput."""
    return np.ones(n_rows) if weight is None else column("weight", numbers("weight", weight), n_rows)
