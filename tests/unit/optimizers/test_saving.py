"""Every optimizer is saved and restored between any two evaluations, to the same bits."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from builders.files import through_a_file
from gradloom.optimizers import Adam, AnyOptimizer, GradientDescent, Lbfgs, Momentum
from gradloom.saved import Saved

START = np.array([-1.2, 1.0, -1.2, 1.0])
OPTIMIZERS: dict[str, AnyOptimizer] = {
    "gradient_descent": GradientDescent(1e-3),
    "momentum": Momentum(1e-4),
    "nesterov": Momentum(1e-4, nesterov=True),
    "adam": Adam(0.01),
    "lbfgs": Lbfgs(memory=3),
}
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=list(OPTIMIZERS))


def run(optimizer: AnyOptimizer, between: Callable[[Any], Any], evaluations: int = 80) -> list[Any]:
    """What the state holds after each evaluation; ``between`` may exchange it."""
    state, seen = optimizer.init(START), []
    for _ in range(evaluations):
        state = between(state)
        state = optimizer.update(state, float(rosen(state.point)), rosen_der(state.point))
        seen.append(content(state))
        if state.stalled is not None:
            break
    return seen


def content(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if is_dataclass(value):
        return type(value).__name__, tuple(content(getattr(value, f.name)) for f in fields(value))
    return tuple(content(v) for v in value) if isinstance(value, tuple) else value


@every_optimizer
def test_saved_and_restored_before_every_evaluation_it_takes_the_same_way(optimizer: AnyOptimizer) -> None:
    disturbed = run(optimizer, lambda state: optimizer.restore(through_a_file(optimizer.save(state))))
    assert disturbed == run(optimizer, lambda state: state)
    assert len(disturbed) > 30


def test_lbfgs_is_saved_in_the_middle_of_a_line_search_with_its_pairs_and_its_end() -> None:
    optimizer, states = Lbfgs(memory=3), []

    def keep(state: Any) -> Any:
        states.append(state)
        return state

    run(optimizer, keep)
    assert any(state.search is not None and state.search.right is not None for state in states)
    assert max(len(state.pairs) for state in states) == 3
    for state in states:
        assert content(optimizer.restore(through_a_file(optimizer.save(state)))) == content(state)


@every_optimizer
def test_what_is_no_state_is_refused_by_the_name_that_is_missing(optimizer: AnyOptimizer) -> None:
    with pytest.raises(ValueError, match="'point' is missing"):
        optimizer.restore(Saved({}, {}))
