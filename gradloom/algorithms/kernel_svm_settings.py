"""Settings of the kernel SVM: names, bounds, defaults, and which of them make sense together."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gradloom.algorithms.algorithm import Settings
from gradloom.algorithms.class_weight_setting import ClassWeight
from gradloom.errors import InvalidInput
from gradloom.kernels import KernelName

KERNELS: dict[str, tuple[KernelName, ...]] = {"degree": ("poly",), "coef0": ("poly", "sigmoid")}
"""The kernels that a setting means something to."""
FLOAT32_TOLERANCE = 1e-5
"""The smallest tolerance that kernel values of float32 can be held to."""


class KernelSvmSettings(Settings):
    """How a kernel SVM is trained; the names are those of scikit-learn's SVC where it has them."""

    C: float = Field(
        1.0, gt=0, description="price of a row on the wrong side, multiplied by the row's weight"
    )
    kernel: KernelName = Field("rbf", description="rbf, poly, linear or sigmoid")
    degree: int = Field(3, ge=1, le=100, description="of the poly kernel")
    gamma: Literal["scale", "auto"] | Annotated[float, Field(gt=0)] = Field(
        "scale", description="number above 0; scale = 1 / (d Var X) over all train rows, auto = 1/d"
    )
    coef0: float = Field(0.0, description="constant of the poly and sigmoid kernels")
    tolerance: float = Field(
        1e-3, gt=0, le=0.1, description="no row of the data violates the optimality conditions by more"
    )
    class_weight: ClassWeight = ""
    decision_function_shape: Literal["ovr", "ovo"] = Field(
        "ovr", description="what decision_function returns with three classes or more"
    )
    break_ties: bool = Field(False, description="where classes have as many votes, take the surer one")
    standardize: bool = Field(True, description="train on columns of mean 0 and deviation 1")
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="of the rows and the kernel; sums are float64"
    )
    method: Literal["auto", "exact", "nystroem"] = Field(
        "auto", description="nystroem approximates by landmarks; auto does so beyond max_support_vectors"
    )
    max_support_vectors: int = Field(
        10_000, ge=2, le=100_000, description="rows that the coordinator may hold; their kernel matrix is n^2"
    )
    landmarks: int = Field(1000, ge=2, le=20_000, description="rows that nystroem stands on")
    local_rows: int = Field(
        4096, ge=2, le=20_000, description="most rows of one local problem; larger shards are cut"
    )
    max_steps: int = Field(
        10_000_000, ge=1, description="most steps of the solver on one pair of classes; more fails the job"
    )
    max_rounds: int = Field(300, ge=1, description="stop after so many rounds")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        fields = type(self).model_fields
        for name, owners in KERNELS.items():
            if self.kernel not in owners and getattr(self, name) != fields[name].default:
                raise InvalidInput(
                    name, f"means nothing to kernel {self.kernel!r}, only to: {', '.join(owners)}"
                )
        if self.tolerance < FLOAT32_TOLERANCE and self.dtype == "float32":
            raise InvalidInput(
                "tolerance",
                f"{self.tolerance:g} is finer than float32 rows are; it needs dtype=float64,"
                f" or at least {FLOAT32_TOLERANCE:g}",
            )
        if self.break_ties and self.decision_function_shape == "ovo":
            raise InvalidInput("break_ties", "true needs decision_function_shape='ovr'")
        return self
