"""Settings of the linear models: names, bounds, defaults, and which of them make sense together."""

from math import isfinite
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gradloom.algorithms.algorithm import Settings
from gradloom.errors import InvalidInput

OptimizerName = Literal["lbfgs", "gradient_descent", "momentum", "adam"]

OWNERS: dict[str, tuple[OptimizerName, ...]] = {
    "learning_rate": ("gradient_descent", "momentum", "adam"),
    "batch_size": ("gradient_descent", "momentum", "adam"),
    "local_steps": ("gradient_descent", "momentum", "adam"),
    "momentum": ("momentum",),
    "nesterov": ("momentum",),
    "beta1": ("adam",),
    "beta2": ("adam",),
    "epsilon": ("adam",),
}
"""The optimizers that a setting means something to."""


def _none_from_text(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "auto") else value


def _empty_from_none(value: object) -> object:
    return "" if value is None or value == "none" else value


class LinearSettings(Settings):
    """How a linear model is trained."""

    optimizer: OptimizerName = Field(
        "lbfgs", description="lbfgs needs the fewest rounds; the others take batches"
    )
    learning_rate: Annotated[float | None, BeforeValidator(_none_from_text)] = Field(
        None,
        gt=0,
        description="length of a step; none = 0.01 for adam, else 1/L for standardised columns, 0.01 for others",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="share of the velocity kept in each step")
    nesterov: bool = Field(False, description="look ahead along the velocity before stepping")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of Adam's mean of the gradient")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of Adam's mean of the squared gradient")
    epsilon: float = Field(1e-8, gt=0, description="added to the denominator of Adam")
    # 1e-4 is what scikit-learn's C = 1 means for 10,000 rows: it hardly moves a coefficient of a standardised
    # column, and keeps the optimum of separable classes finite.
    l2: float = Field(1e-4, ge=0, description="penalty: weighted mean loss + l2/2 |w|^2, intercept left out")
    fit_intercept: bool = Field(True, description="learn an intercept; without it standardize must be false")
    standardize: bool = Field(
        True,
        description="train and penalise on columns of mean 0 and deviation 1; the model is on raw columns",
    )
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="of the rows and the products with them"
    )
    batch_size: int = Field(0, ge=0, description="rows of each shard in a round; 0 = all of them")
    local_steps: int = Field(
        1, ge=1, le=100_000, description="steps that each shard takes by itself before all are averaged"
    )
    max_rounds: int = Field(1000, ge=1, description="stop after so many rounds")
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

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        fields = type(self).model_fields
        for name, owners in OWNERS.items():
            if self.optimizer not in owners and getattr(self, name) != fields[name].default:
                raise InvalidInput(
                    name, f"means nothing to optimizer {self.optimizer!r}, only to: {', '.join(owners)}"
                )
        if self.patience and not self.validation_fraction:
            raise InvalidInput(
                "patience", f"{self.patience} needs rows to validate on: set validation_fraction too"
            )
        if self.standardize and not self.fit_intercept:
            raise InvalidInput(
                "fit_intercept",
                "false needs standardize=false: taking the means away is an intercept of its own",
            )
        return self


class ClassifierSettings(LinearSettings):
    """How a linear classifier is trained."""

    class_weight: Annotated[str, BeforeValidator(_empty_from_none)] = Field(
        "", description="empty = all alike, balanced = W / (K W_k), or label:weight,label:weight"
    )

    @model_validator(mode="after")
    def _check_class_weight(self) -> Self:
        if self.class_weight not in ("", "balanced"):
            for item in self.class_weight.split(","):
                _check_weight_of_label(item)
        return self


def _check_weight_of_label(item: str) -> None:
    label, colon, number = item.rpartition(":")
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not (colon and label.strip() and isfinite(weight) and weight >= 0):
        raise InvalidInput(
            "class_weight",
            f"{item!r} is not allowed; it must be balanced, or label:weight with a weight of at least 0",
        )
