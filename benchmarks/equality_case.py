"""One row of the equality table: an algorithm with settings, data, and the reference that it must agree with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms import build
from gradloom.models import Model
from tests.unit.algorithms.training import Data, train

Floats = NDArray[np.float64]


def parameters(model: Any) -> Floats:
    """Coefficients and intercept of a linear model, ours or scikit-learn's, in one vector: class by class."""
    w, b = (getattr(model, a, None) for a in ("coefficients", "intercept"))
    if w is None:
        w, b = np.atleast_2d(model.coef_).T, np.ravel(model.intercept_)
    return np.concatenate([np.reshape(w, (len(w), -1)).T.ravel(), np.ravel(b)])


@dataclass(frozen=True)
class EqualityCase:
    """Train ours from unequal shards, make the reference, and compare their numbers."""

    algorithm: str
    settings: Mapping[str, Any]
    data_name: str
    data: Callable[[], Data]
    reference: str
    """In words, for the table."""
    twin: Callable[[Data], Floats]
    """The reference's numbers."""
    limit: float
    """The largest absolute difference that is allowed."""
    ours: Callable[[Model, Data], Floats] = lambda model, _: parameters(model)
    same_zeros: bool = False
    """Whether the same numbers must be exactly zero."""
    note: str = ""
    """What is special: weights, no intercept."""
    n_shards: int = 5

    def __str__(self) -> str:
        return f"{self.algorithm}-{self.solver}-{self.reference}-{self.note or 'plain'}-{self.data_name}"

    @property
    def solver(self) -> str:
        """As the settings say."""
        return str(self.settings.get("solver", "auto"))


class Measured(NamedTuple):
    """What came of a case."""

    difference: float
    other_zeros: int
    """Numbers that are exactly zero in one of the two alone."""
    rounds: int | None
    solver: str
    """That was chosen."""


def measure(case: EqualityCase) -> Measured:
    """Train and compare."""
    data = case.data()
    model = train(build(case.algorithm, case.settings), data, n_shards=case.n_shards)
    ours, theirs = case.ours(model, data), case.twin(data)
    rounds = model.metadata.get("rounds")
    return Measured(
        difference=float(np.abs(ours - theirs).max()),
        other_zeros=int(((ours == 0) != (theirs == 0)).sum()) if case.same_zeros else 0,
        rounds=int(rounds) if rounds is not None else None,
        solver=str(model.metadata.get("solver", case.solver)),
    )
