"""Settings of the k-nearest-neighbour algorithms."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gradloom.algorithms.algorithm import Settings
from gradloom.errors import InvalidInput
from gradloom.nearest.distances import Metric
from gradloom.nearest.searching import SearchName
from gradloom.nearest.voting import Weights

ServeName = Literal["auto", "model", "cluster"]


class NeighborsSettings(Settings):
    """How neighbours are found."""

    n_neighbors: int = Field(5, ge=1, le=10_000, description="neighbours of a query")
    metric: Metric = Field("euclidean", description="distance between rows: euclidean, cosine or manhattan")
    radius: float = Field(1.0, ge=0, description="of a query for all rows within a distance")
    algorithm: SearchName = Field(
        "exact", description="exact, or ivf: approximate and faster, where data has clusters"
    )
    lists: int = Field(
        0, ge=0, le=1_000_000, description="ivf: lists of each shard; 0 = 4 times the root of its rows"
    )
    probes: int = Field(8, ge=1, le=1_000_000, description="ivf: lists of each shard that a query looks at")
    standardize: bool = Field(False, description="measure distances on columns of mean 0 and deviation 1")
    dtype: Literal["float32", "float64"] = Field(
        "float64", description="of the rows: float32 takes half the memory, and rounds the data to 7 digits"
    )
    serve: ServeName = Field(
        "auto",
        description="who answers queries: model = the model holds all rows (at most 1 GiB), cluster = workers do and"
        " the job goes on serving, auto = the model if its rows take at most 64 MiB",
    )

    serve_for_s: float = Field(
        0.0, ge=0, description="cluster: seconds without a query after which the job has completed; 0 = never"
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        fields = type(self).model_fields
        for name in ("lists", "probes"):
            if self.algorithm != "ivf" and getattr(self, name) != fields[name].default:
                raise InvalidInput(name, "means nothing to algorithm 'exact', only to: ivf")
        if self.algorithm == "ivf" and self.metric == "manhattan":
            raise InvalidInput(
                "algorithm", "ivf needs metric euclidean or cosine; manhattan is searched exactly"
            )
        return self


class KnnSettings(NeighborsSettings):
    """How neighbours are found, and what they say of a query."""

    weights: Weights = Field(
        "uniform", description="of a neighbour's vote: uniform, or distance = 1 / distance"
    )
