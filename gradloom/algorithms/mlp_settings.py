"""Settings of the multi-layer perceptrons: names, bounds, defaults, and which of them make sense together."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gradloom.algorithms.algorithm import Settings
from gradloom.algorithms.class_weight_setting import ClassWeight
from gradloom.errors import InvalidInput
from gradloom.networks import ActivationName

SolverName = Literal["adam", "adamw", "sgd"]
MAX_LAYERS, MAX_UNITS = 64, 1 << 16

OWNERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "momentum": ("solver", ("sgd",)),
    "nesterov": ("solver", ("sgd",)),
    "beta1": ("solver", ("adam", "adamw")),
    "beta2": ("solver", ("adam", "adamw")),
    "epsilon": ("solver", ("adam", "adamw")),
    "weight_decay": ("solver", ("adamw",)),
    "power": ("schedule", ("inverse_scaling",)),
    "final_rate": ("schedule", ("cosine",)),
}
"""The setting that another one belongs to, and the values of it that make it mean something."""


def _as_text(value: object) -> object:
    """Sizes as people write them in Python: 128, (128, 64)."""
    if isinstance(value, list | tuple):
        return ",".join(str(size) for size in value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def hidden_sizes(text: str) -> tuple[int, ...]:
    """``"128,64"`` as (128, 64); empty for no hidden layer. Raises InvalidInput."""
    refusal = InvalidInput(
        "hidden_layer_sizes",
        f"{text!r} is not allowed; it must be units of each layer, such as 128,64,"
        f" at most {MAX_LAYERS} layers of 1 to {MAX_UNITS}",
    )
    if not text.strip():
        return ()
    try:
        sizes = tuple(int(size) for size in text.rstrip(", ").split(","))
    except ValueError:
        raise refusal from None
    if len(sizes) > MAX_LAYERS or not all(1 <= size <= MAX_UNITS for size in sizes):
        raise refusal
    return sizes


class MlpSettings(Settings):
    """How a multi-layer perceptron is trained."""

    steerable: ClassVar[frozenset[str]] = frozenset(
        {
            "learning_rate", "schedule", "power", "final_rate", "warmup_epochs", "momentum", "weight_decay",
            "alpha", "dropout", "batch_size", "max_epochs", "patience", "tolerance",
        }
    )  # fmt: skip

    hidden_layer_sizes: Annotated[str, BeforeValidator(_as_text)] = Field(
        "100", description="units of each hidden layer, such as 128,64; empty = none"
    )
    activation: ActivationName = Field("relu", description="of the hidden layers; gelu is the exact one")
    solver: SolverName = Field("adam", description="how a gradient becomes a step")
    learning_rate: float = Field(1e-3, gt=0, description="length of a step")
    schedule: Literal["constant", "cosine", "inverse_scaling"] = Field(
        "constant",
        description="constant, cosine (falls to final_rate at max_epochs) or inverse_scaling (/ updates^power)",
    )
    warmup_epochs: float = Field(
        0.0, ge=0, description="epochs in which the learning rate grows linearly to its full size"
    )
    power: float = Field(0.5, ge=0, description="exponent of inverse_scaling")
    final_rate: float = Field(0.0, ge=0, description="learning rate that cosine ends at")
    momentum: float = Field(0.9, ge=0, lt=1, description="share of the velocity kept in each step of sgd")
    nesterov: bool = Field(True, description="sgd looks ahead along the velocity before stepping")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of Adam's mean of the gradient")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of Adam's mean of the squared gradient")
    epsilon: float = Field(1e-8, gt=0, description="added to the denominator of Adam")
    weight_decay: float = Field(
        1e-4, ge=0, description="adamw shrinks all parameters by learning_rate times this in each step"
    )
    alpha: float = Field(
        1e-4,
        ge=0,
        description="penalty: (sum of losses + alpha/2 |W|^2) / weight of the batch, biases left out",
    )
    dropout: float = Field(
        0.0, ge=0, le=0.95, description="share of hidden units left out of each row while training"
    )
    batch_size: int = Field(
        128,
        ge=0,
        description="rows of a step, from all shards together; 0 = all rows; a change counts from the next epoch on",
    )
    local_steps: int = Field(
        1, ge=1, le=100_000, description="steps that each shard takes by itself before all are averaged"
    )
    max_epochs: int = Field(50, ge=1, le=1_000_000, description="stop when every row was seen so often")
    patience: int = Field(
        10,
        ge=0,
        description="stop after so many epochs without a better loss: of the validation rows if there are any,"
        " whose best parameters are then returned, else of the train rows; 0 = off",
    )
    tolerance: float = Field(
        1e-4, ge=0, description="a loss counts as better if it is lower by more than this"
    )
    validation_fraction: float = Field(0.0, ge=0, le=0.9, description="share of the rows kept to validate on")
    standardize: bool = Field(
        True, description="train on columns of mean 0 and deviation 1; the model is on raw columns"
    )
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="of the rows and the products with them"
    )

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of each hidden layer."""
        return hidden_sizes(self.hidden_layer_sizes)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        hidden_sizes(self.hidden_layer_sizes)
        for name, (owner, values) in OWNERS.items():
            chosen = getattr(self, owner)
            if chosen not in values and getattr(self, name) != type(self).model_fields[name].default:
                raise InvalidInput(name, f"means nothing to {owner} {chosen!r}, only to: {', '.join(values)}")
        if self.dropout and not self.hidden:
            raise InvalidInput("dropout", f"{self.dropout} needs a hidden layer to leave units out of")
        return self


class MlpClassifierSettings(MlpSettings):
    """How a perceptron that tells classes apart is trained."""

    class_weight: ClassWeight = ""


class MlpRegressorSettings(MlpSettings):
    """How a perceptron that predicts a number is trained."""

    standardize_target: bool = Field(
        True,
        description="train on a target of mean 0 and deviation 1, found in one more round; the loss is in its units",
    )
