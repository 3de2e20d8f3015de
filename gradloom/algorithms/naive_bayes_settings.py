"""Settings of naive Bayes, Gaussian and multinomial."""

import json
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from gradloom.algorithms.algorithm import Settings
from gradloom.errors import InvalidInput


def _text_from_list(value: object) -> object:
    if isinstance(value, list | tuple):
        return ",".join(str(float(v)) for v in value)
    return "" if value is None or value == "none" else value


Priors = Annotated[str, BeforeValidator(_text_from_list)]
PRIORS_HELP = "probabilities of the classes in their order, e.g. 0.2,0.8; empty = shares of the train weight"


class NaiveBayesSettings(Settings):
    """What both have."""

    priors: Priors = Field("", max_length=100_000, description=PRIORS_HELP)
    dtype: Literal["float32", "float64"] = Field("float64", description="of the rows; sums are float64")

    @property
    def prior(self) -> NDArray[np.float64] | None:
        """``priors`` as numbers (K,), or None. Raises InvalidInput."""
        if not self.priors:
            return None
        try:
            given = np.asarray(json.loads(f"[{self.priors.strip('[] ')}]"), dtype=np.float64)
        except (TypeError, ValueError):
            given = np.zeros(0)
        if given.ndim != 1 or not given.size or not (given >= 0).all() or not np.isclose(given.sum(), 1.0):
            raise InvalidInput(
                "priors",
                f"{self.priors[:40]!r} is not allowed; it must be numbers of 0 or more that sum to 1",
            )
        return given

    @model_validator(mode="after")
    def _check_priors(self) -> Self:
        _ = self.prior
        return self


class GaussianSettings(NaiveBayesSettings):
    """Columns that are normally distributed within a class."""

    var_smoothing: float = Field(
        1e-9, ge=0, description="added to every variance, as a share of the largest variance of a column"
    )


class MultinomialSettings(NaiveBayesSettings):
    """Columns that are counts."""

    alpha: float = Field(1.0, ge=0, description="added to every count: 1 = Laplace, less = Lidstone")
    fit_prior: bool = Field(True, description="learn the probabilities of the classes; false = all alike")

    @model_validator(mode="after")
    def _check_prior(self) -> Self:
        if self.priors and not self.fit_prior:
            raise InvalidInput(
                "fit_prior", "false means that all classes are alike, and priors says that they are not"
            )
        return self
