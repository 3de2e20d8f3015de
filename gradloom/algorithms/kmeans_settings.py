"""Settings of K-means: names, bounds, defaults, and which of them make sense together."""

import json
from math import isfinite
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from gradloom.algorithms.algorithm import Settings
from gradloom.errors import InvalidInput

InitName = Literal["k-means||", "k-means++", "random", "given"]
MAX_TEXT = 16_000_000
"""Characters of ``init_centers``: about 800,000 numbers in full precision."""

OWNERS = {
    "oversampling": "k-means||",
    "init_rounds": "k-means||",
    "local_trials": "k-means++",
    "init_centers": "given",
}
"""The way to begin that a setting means something to."""
OF_BATCHES = ("patience", "reassignment_ratio", "max_epochs")


def _none_from_text(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "auto") else value


def _text_from_list(value: object) -> object:
    return json.dumps(value) if isinstance(value, list | tuple) else value


class KMeansSettings(Settings):
    """How clusters are found."""

    steerable: ClassVar[frozenset[str]] = frozenset(
        {"max_rounds", "max_epochs", "tolerance", "patience", "reassignment_ratio"}
    )

    n_clusters: int = Field(8, ge=1, le=100_000, description="how many clusters")
    init: InitName = Field(
        "k-means||",
        description="how the first centers are chosen; k-means|| needs a few rounds, k-means++ one a center",
    )
    init_centers: Annotated[str, BeforeValidator(_text_from_list)] = Field(
        "",
        max_length=MAX_TEXT,
        description="with init=given: the first centers as JSON, [[x, y, ...], ...], one list a cluster",
    )
    n_init: int = Field(
        1, ge=1, le=1000, description="runs from other centers, side by side; the best one counts"
    )
    oversampling: float = Field(
        2.0, gt=0, le=100, description="k-means||: rows drawn in a round, as a multiple of n_clusters"
    )
    init_rounds: int = Field(5, ge=1, le=100, description="k-means||: rounds of drawing")
    local_trials: int = Field(
        0, ge=0, le=1000, description="k-means++: rows that are tried for each center; 0 = 2 + ln n_clusters"
    )
    max_rounds: int = Field(
        300,
        ge=1,
        description="iterations at most; the rounds of init and the last look at all rows come on top",
    )
    tolerance: Annotated[float | None, BeforeValidator(_none_from_text)] = Field(
        None,
        ge=0,
        description="stop when the centers move by no more: sum |dc|^2 <= tolerance * mean variance of the columns; "
        "none = 1e-4, 0 for batches",
    )
    batch_size: int = Field(
        0,
        ge=0,
        description="rows of an iteration, from all shards together (mini-batch K-means); 0 = all of them",
    )
    max_epochs: int = Field(
        0,
        ge=0,
        description="batches: stop after so many times the train rows, if max_rounds allows it; 0 = off",
    )
    patience: int = Field(
        10, ge=0, description="batches: stop after so many without a better smoothed cost; 0 = off"
    )
    reassignment_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="batches: a center with less than this share of the largest moves to a row",
    )
    dtype: Literal["float32", "float64"] = Field(
        "float64",
        description="of the rows, whose means are taken away first, and of the products with them; float32 is up to "
        "twice as fast, but does not tell centers apart that are nearer to each other than a 1000th of their distance "
        "from the mean of all rows",
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        fields = type(self).model_fields
        for name, owner in OWNERS.items():
            if self.init != owner and getattr(self, name) != fields[name].default:
                raise InvalidInput(name, f"means nothing to init={self.init}, only to init={owner}")
        for name in OF_BATCHES:
            if not self.batch_size and getattr(self, name) != fields[name].default:
                raise InvalidInput(name, "means nothing without batches; set batch_size too")
        if self.init == "given":
            given = self.first_centers
            if len(given) != self.n_clusters:
                raise InvalidInput(
                    "init_centers", f"holds {len(given)} centers, where n_clusters is {self.n_clusters}"
                )
            if self.n_init > 1:
                raise InvalidInput(
                    "n_init", f"{self.n_init} runs from the same centers are one run; set it to 1"
                )
        return self

    def last_round(self, train_rows: int) -> int:
        """Iterations at most: ``max_rounds``, or the batches of ``max_epochs``."""
        if not self.max_epochs:
            return self.max_rounds
        batches = self.max_epochs * train_rows // min(self.batch_size, train_rows)
        return min(self.max_rounds, max(1, batches))

    @property
    def trials(self) -> int:
        """Rows that k-means++ tries for each center; scikit-learn's rule."""
        return self.local_trials or 2 + int(np.log(self.n_clusters))

    @property
    def shift_tolerance(self) -> float:
        """``tolerance``, or its default; scikit-learn's are the same."""
        if self.tolerance is not None:
            return self.tolerance
        return 0.0 if self.batch_size else 1e-4

    @property
    def first_centers(self) -> NDArray[np.float64]:
        """``init_centers`` as an array (k, d). Raises InvalidInput for a text that holds none."""
        try:
            centers = np.asarray(json.loads(self.init_centers), dtype=np.float64)
        except (TypeError, ValueError):
            centers = np.zeros(0)
        if centers.ndim != 2 or not centers.size or not isfinite(float(np.abs(centers).max())):
            shown = self.init_centers[:40]
            raise InvalidInput(
                "init_centers",
                f"{shown!r} is not allowed; it must be JSON like [[0, 1.5], [2, 3]], one list a center",
            )
        return centers
