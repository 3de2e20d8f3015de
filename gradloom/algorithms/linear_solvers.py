"""Which solver minimises a linear model's loss, why, and the optimizer that it is. Pure."""

from typing import Literal, NamedTuple

from gradloom.algorithms.linear_layout import Layout, Penalty
from gradloom.algorithms.linear_settings import STEPPERS, LinearSettings
from gradloom.errors import InvalidInput
from gradloom.objectives import Objective
from gradloom.optimizers import (
    Adam,
    AnyOptimizer,
    BarzilaiBorwein,
    GradientDescent,
    Gram,
    Lbfgs,
    Lbfgsb,
    Momentum,
    Newton,
)
from gradloom.optimizers.schedules import Schedule, Scheduled, Stepper

DEFAULT_LEARNING_RATE = 0.01
LOSS_NOISE = {"float32": 1e-6, "float64": 1e-14}
"""Relative error of a loss that was computed from rows of this dtype."""
GRAM_COLUMNS = 1024
"""Up to so many columns auto takes the Gram matrix: 8 MiB a partial."""
NEWTON_PARAMETERS = 128
"""Up to so many parameters in a block of the Hessian auto takes Newton. Measured on float32 rows, a pass with the
Hessian takes 5 times as long as one with the gradient alone at 10 columns, 8 times at 100, 16 times at 256; L-BFGS
needs 6 to 10 times as many rounds. For a softmax, with a product for each class, the block is all classes together."""
MOST_PARAMETERS = {"gram": 8192, "newton": 4096}
"""What a solver whose partials grow with the square of the columns takes when it is told to."""


class Choice(NamedTuple):
    """A solver, and why it."""

    solver: str
    why: str


def choose(settings: LinearSettings, objective: Objective, layout: Layout) -> Choice:
    """The solver to use. Raises InvalidInput for one whose matrices would be too large."""
    side = layout.block_size(interact=objective.outputs_interact)
    if settings.solver != "auto":
        most = MOST_PARAMETERS.get(settings.solver, side)
        if side > most:
            raise InvalidInput(
                "solver",
                f"{settings.solver!r} takes at most {most} parameters, and there are {side}; use lbfgs",
            )
        return Choice(settings.solver, "it was asked for")
    if settings.stepper:
        smooth = "steps on batches of rows" if objective.smooth else "the hinge has corners"
        return Choice(settings.stepper, smooth)
    quasi = "lbfgsb" if settings.l1 else "lbfgs"
    if settings.patience:
        return Choice(quasi, "patience watches many small steps")
    if objective.name == "squared" and side <= GRAM_COLUMNS:
        return Choice("gram", f"least squares of {layout.n_features} columns take one round")
    curved = objective.name != "huber" or objective.scaled is not None
    if curved and side <= NEWTON_PARAMETERS:
        return Choice("newton", f"{side} parameters have a small Hessian, and few rounds suffice")
    why = f"{layout.size} parameters" if curved else "errors beyond epsilon have no curvature"
    return Choice(quasi, why)


def optimizer_of(
    solver: str,
    settings: LinearSettings,
    objective: Objective,
    layout: Layout,
    penalty: Penalty,
    dtype: Literal["float32", "float64"],
) -> AnyOptimizer:
    """The optimizer that a solver stands for."""
    noise, l1 = LOSS_NOISE[dtype], penalty.l1_or_none
    match solver:
        case "gram":
            return Gram(penalty.l1, penalty.l2)
        case "newton":
            return Newton(noise, l1, layout.reach)
        case "lbfgs":
            return Lbfgs(noise=noise, reach=layout.reach)
        case "lbfgsb":
            return Lbfgsb(penalty.l1, noise=noise, reach=layout.reach)
        case "barzilai_borwein":
            return BarzilaiBorwein(noise, l1)
    return _stepper(solver, settings, objective, layout, penalty)


def _stepper(
    solver: str, s: LinearSettings, objective: Objective, layout: Layout, penalty: Penalty
) -> AnyOptimizer:
    assert solver in STEPPERS, solver
    rate, l1 = step_length(solver, s, objective, layout, penalty), penalty.l1_or_none
    plain: Stepper = GradientDescent(rate, l1)
    if solver == "momentum":
        plain = Momentum(rate, s.momentum, s.nesterov, l1)
    if solver == "adam":
        plain = Adam(rate, s.beta1, s.beta2, s.adam_epsilon, l1)
    schedule = schedule_of(rate, s)
    return plain if schedule is None else Scheduled(plain, schedule)


def schedule_of(rate: float, s: LinearSettings) -> Schedule | None:
    """How the learning rate changes; None = not at all. It counts updates: a round of local steps has many."""
    if s.schedule == "constant" and not s.warmup_rounds:
        return None
    return Schedule(
        learning_rate=rate,
        name=s.schedule,
        warmup=s.warmup_rounds * s.local_steps,
        length=s.max_rounds * s.local_steps,
        final=s.final_rate,
        power=s.power,
        factor=s.step_factor,
        every=s.step_every,
    )


def step_length(
    solver: str, s: LinearSettings, objective: Objective, layout: Layout, penalty: Penalty
) -> float:
    """The learning_rate that was set, else Adam's default, else 1/L.

    On d standardised columns and an intercept the Hessian's largest eigenvalue is at most its trace,
    L <= curvature (d + 1) + l2: a step of 1/L never raises the loss. (Unequal weights may stretch that bound.)
    """
    if s.learning_rate is not None:
        return s.learning_rate
    if solver == "adam" or not s.standardize or objective.curvature is None:
        return DEFAULT_LEARNING_RATE
    return 1.0 / (objective.curvature * (layout.n_features + 1) + float(penalty.l2.max(initial=0.0)))
