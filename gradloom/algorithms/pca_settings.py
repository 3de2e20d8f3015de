"""Settings of principal component analysis."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from gradloom.algorithms.algorithm import Settings
from gradloom.errors import InvalidInput

ALL = "all"


def _number_from_text(value: object) -> object:
    """``"3"`` is a count, ``"0.95"`` a share; any other text stays."""
    if value is None or (isinstance(value, str) and value.strip().lower() in (ALL, "none", "")):
        return ALL
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    return value


def _check_number(value: float | str) -> float | str:
    count = isinstance(value, int) and value >= 1
    share = isinstance(value, float) and 0 < value < 1
    if not (count or share or value == ALL):
        raise InvalidInput(
            "n_components",
            f"{value!r} is not allowed; it must be all, a whole number from 1, or a share of the variance in (0, 1)",
        )
    return value


NumberOfComponents = Annotated[
    int | float | str, BeforeValidator(_number_from_text), AfterValidator(_check_number)
]
RANDOMIZED_ONLY = ("oversamples", "power_iterations")


def _none_from_text(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "auto") else value


class PcaSettings(Settings):
    """Which components are wanted, and how they are found."""

    n_components: NumberOfComponents = Field(
        ALL, description="all, how many, or the share of the variance that they are to explain, e.g. 0.95"
    )
    whiten: bool = Field(False, description="divide the coordinates by their standard deviations")
    solver: Literal["auto", "gram", "randomized"] = Field(
        "auto",
        description="gram is exact and needs one round and columns^2 numbers; randomized is for very many columns; "
        "auto = gram up to 4096 columns, and up to 8192 where n_components is no whole number and rows are many",
    )
    oversamples: int = Field(10, ge=0, le=10_000, description="randomized: directions beside those wanted")
    power_iterations: Annotated[int | None, BeforeValidator(_none_from_text)] = Field(
        None,
        ge=0,
        le=1000,
        description="randomized: rounds that sharpen the directions; none = 7 for few components, else 4",
    )
    dtype: Literal["float32", "float64"] = Field(
        "float64", description="of the rows, whose means are taken away first; products with them are float64"
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        for name in RANDOMIZED_ONLY:
            if self.solver == "gram" and getattr(self, name) != type(self).model_fields[name].default:
                raise InvalidInput(name, "means nothing to solver=gram, only to randomized")
        if self.solver == "randomized" and not isinstance(self.n_components, int):
            raise InvalidInput(
                "n_components",
                f"{self.n_components!r} needs solver=gram or auto; randomized must be told a whole number",
            )
        return self
