"""Settings of the linear models: names, bounds, defaults, and which of them make sense together."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gradloom.algorithms.algorithm import Settings
from gradloom.algorithms.class_weight_setting import ClassWeight
from gradloom.errors import InvalidInput
from gradloom.optimizers.schedules import ScheduleName

SolverName = Literal[
    "auto", "gram", "newton", "lbfgs", "lbfgsb", "gradient_descent", "barzilai_borwein", "momentum", "adam",
]  # fmt: skip

STEPPERS = ("gradient_descent", "momentum", "adam")
"""Solvers whose steps are as long as a learning rate says: any sum of gradients will do for them."""
SCHEDULES: dict[str, tuple[ScheduleName, ...]] = {
    "power": ("inverse_scaling",),
    "final_rate": ("cosine",),
    "step_every": ("step",),
    "step_factor": ("step",),
}
"""The schedules that a setting means something to."""
OWNERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("learning_rate", "batch_size", "local_steps", "schedule", "warmup_rounds"), STEPPERS),
    **dict.fromkeys(("max_epochs", "epoch_patience"), STEPPERS),
    **dict.fromkeys(SCHEDULES, STEPPERS),
    "momentum": ("momentum",),
    "nesterov": ("momentum",),
    "beta1": ("adam",),
    "beta2": ("adam",),
    "adam_epsilon": ("adam",),
}
"""The solvers that a setting means something to."""


def _none_from_text(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "auto") else value


class LinearSettings(Settings):
    """How a linear model is trained; on its own, that of least squares."""

    steerable: ClassVar[frozenset[str]] = frozenset(
        {"learning_rate", "batch_size", "momentum", "max_rounds", "tolerance", "patience"}
    )
    solvers_refused: ClassVar[dict[str, str]] = {}
    """Solvers that can't minimise the loss, and why."""

    solver: SolverName = Field(
        "auto",
        description="how the minimum is found; auto chooses by the loss, the columns, l1 and batch_size, and says why",
    )
    # 1e-4 is what scikit-learn's C = 1 means for 10,000 rows: it hardly moves a coefficient of a standardised
    # column, and keeps the optimum of separable classes finite.
    l2: float = Field(
        1e-4, ge=0, description="penalty: weighted mean loss + l2/2 |w|^2, the intercept left out"
    )
    l1: float = Field(
        0.0, ge=0, description="penalty: + l1 |w|_1, which makes coefficients of little use exactly zero"
    )
    penalty_per: Literal["mean", "sum"] = Field(
        "mean", description="l1 and l2 go with the weighted mean of the losses, or with their weighted sum"
    )
    learning_rate: Annotated[float | None, BeforeValidator(_none_from_text)] = Field(
        None,
        gt=0,
        description="length of a step; none = 0.01 for adam, else 1/L for standardised columns, 0.01 for others",
    )
    schedule: ScheduleName = Field(
        "constant",
        description="of the learning rate: constant, inverse_scaling (/ updates^power), cosine (falls to final_rate "
        "at max_rounds) or step (times step_factor every step_every updates)",
    )
    warmup_rounds: int = Field(
        0, ge=0, description="rounds in which the learning rate grows to its full size"
    )
    power: float = Field(0.5, ge=0, description="exponent of inverse_scaling")
    final_rate: float = Field(0.0, ge=0, description="learning rate that cosine ends at")
    step_every: int = Field(100, ge=1, description="updates between two steps of the schedule step")
    step_factor: float = Field(0.1, gt=0, le=1, description="what the schedule step multiplies the rate by")
    momentum: float = Field(0.9, ge=0, lt=1, description="share of the velocity kept in each step")
    nesterov: bool = Field(False, description="look ahead along the velocity before stepping")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of Adam's mean of the gradient")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of Adam's mean of the squared gradient")
    adam_epsilon: float = Field(1e-8, gt=0, description="added to the denominator of Adam")
    fit_intercept: bool = Field(True, description="learn an intercept; without it standardize must be false")
    standardize: bool = Field(
        True,
        description="train and penalise on columns of mean 0 and deviation 1; the model is on raw columns",
    )
    dtype: Literal["float32", "float64"] = Field(
        "float32",
        description="of the rows and the products with them; float32 goes on in float64 if tolerance is below 1e-6",
    )
    batch_size: int = Field(
        0, ge=0, description="rows of a round, from all shards together; 0 = all rows in every round"
    )
    local_steps: int = Field(
        1, ge=1, le=100_000, description="steps that each shard takes by itself before all are averaged"
    )
    max_rounds: int = Field(1000, ge=1, description="stop after so many rounds")
    max_epochs: int = Field(
        0, ge=0, description="stop when every row was seen so often; 0 = only max_rounds counts"
    )
    epoch_patience: int = Field(
        0,
        ge=0,
        description="stop after so many epochs without a better loss: of the validation rows if there are any, else of "
        "the train rows; 0 = off",
    )
    epoch_tolerance: float = Field(
        0.0, ge=0, description="a loss is better for epoch_patience if it is lower by more than this"
    )
    # About where rounding in float32 ends progress on columns that are strongly correlated.
    tolerance: float = Field(
        1e-5,
        ge=0,
        description="stop when the largest entry of the gradient is at most this times its first value",
    )
    patience: int = Field(
        0,
        ge=0,
        description="stop after so many rounds without a better validation loss, return the best; 0 = off",
    )
    validation_fraction: float = Field(0.0, ge=0, le=0.9, description="share of the rows kept to validate on")

    @property
    def stepper(self) -> str:
        """The solver if it is one of STEPPERS, auto included where that is sure to choose one; else empty."""
        if self.solver != "auto":
            return self.solver if self.solver in STEPPERS else ""
        return "adam" if self.batch_size or self.local_steps > 1 else ""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        self._check_solver()
        for name, owners in OWNERS.items():
            self._refuse_idle(name, "solver", self.stepper or self.solver, owners)
        for name, schedules in SCHEDULES.items():
            self._refuse_idle(name, "schedule", self.schedule, schedules)
        if self.patience and not self.validation_fraction:
            raise InvalidInput(
                "patience", f"{self.patience} needs rows to validate on: set validation_fraction too"
            )
        if self.epoch_tolerance and not self.epoch_patience:
            raise InvalidInput("epoch_tolerance", "means nothing without epoch_patience")
        if self.standardize and not self.fit_intercept:
            raise InvalidInput(
                "fit_intercept",
                "false needs standardize=false: taking the means away is an intercept of its own",
            )
        return self

    def _check_solver(self) -> None:
        if why := self.solvers_refused.get(self.solver):
            raise InvalidInput("solver", f"{self.solver!r} is not allowed here: {why}")
        if self.l1 and self.solver == "lbfgs":
            raise InvalidInput(
                "l1", f"{self.l1:g} can't be minimised by solver 'lbfgs'; lbfgsb can, and newton, and others"
            )
        if self.patience and self.solver == "gram":
            raise InvalidInput(
                "patience", "means nothing to solver 'gram', which has only one round to stop in"
            )

    def _refuse_idle(self, name: str, owner: str, chosen: str, owners: tuple[str, ...]) -> None:
        if chosen not in owners and getattr(self, name) != type(self).model_fields[name].default:
            raise InvalidInput(name, f"means nothing to {owner} {chosen!r}, only to: {', '.join(owners)}")


NOT_QUADRATIC = {"gram": "only least squares can be solved from one matrix"}


class PoissonSettings(LinearSettings):
    """How a regression on counts is trained."""

    solvers_refused: ClassVar[dict[str, str]] = NOT_QUADRATIC


class HuberSettings(LinearSettings):
    """How a regression that outliers hardly move is trained."""

    solvers_refused: ClassVar[dict[str, str]] = NOT_QUADRATIC

    epsilon: float = Field(
        1.35,
        gt=0,
        description="errors beyond it count linearly; in units of the scale that is learnt, or of the target",
    )
    learn_scale: bool = Field(
        True,
        description="learn the scale of the errors too, as HuberRegressor; else epsilon is in units of the target",
    )

    @model_validator(mode="after")
    def _check_epsilon(self) -> Self:
        if self.learn_scale and self.epsilon <= 1.0:
            raise InvalidInput(
                "epsilon",
                f"{self.epsilon:g} is not allowed with a scale to learn: below 1 the scale would shrink to nothing",
            )
        if self.learn_scale and (self.stepper or self.solver == "barzilai_borwein"):
            raise InvalidInput(
                "solver",
                f"{self.stepper or self.solver!r} can't learn the scale of the errors: every row has a say in how far "
                "to go; allowed: newton, lbfgs, lbfgsb, or learn_scale=false",
            )
        if not self.learn_scale and self.solver == "newton":
            raise InvalidInput(
                "solver",
                "'newton' is not allowed with learn_scale=false: errors beyond epsilon have no curvature, and all may "
                "be; allowed: lbfgs, lbfgsb, barzilai_borwein and those with a learning rate",
            )
        return self


class ClassifierSettings(LinearSettings):
    """How a linear classifier is trained."""

    solvers_refused: ClassVar[dict[str, str]] = NOT_QUADRATIC

    class_weight: ClassWeight = ""
    penalize_intercept: bool = Field(
        False, description="penalise the intercept as a coefficient, as LIBLINEAR does; see intercept_scaling"
    )
    intercept_scaling: float = Field(
        1.0, gt=0, description="the intercept is this times a coefficient that is penalised"
    )

    @model_validator(mode="after")
    def _check_intercept(self) -> Self:
        if self.penalize_intercept and not self.fit_intercept:
            raise InvalidInput(
                "penalize_intercept", "true needs fit_intercept=true: there is none to penalise"
            )
        if self.intercept_scaling != 1.0 and not self.penalize_intercept:
            raise InvalidInput("intercept_scaling", "means nothing without penalize_intercept=true")
        return self


class LinearSvmSettings(ClassifierSettings):
    """How a linear support vector machine is trained."""

    loss: Literal["squared_hinge", "hinge"] = Field(
        "squared_hinge", description="squared_hinge is smooth; hinge takes solvers with a learning rate only"
    )

    @property
    def stepper(self) -> str:
        """As for all linear models; for the hinge auto chooses a stepper too."""
        found = LinearSettings.stepper.fget(self)  # type: ignore[attr-defined]
        return "adam" if not found and self.solver == "auto" and self.loss == "hinge" else str(found)

    @model_validator(mode="after")
    def _check_loss(self) -> Self:
        if self.loss == "hinge" and self.solver not in ("auto", *STEPPERS):
            raise InvalidInput(
                "solver",
                f"{self.solver!r} needs a smooth loss, which the hinge is not; allowed: {', '.join(STEPPERS)}, or "
                "loss=squared_hinge, or algorithm kernel_svm with kernel=linear",
            )
        return self
