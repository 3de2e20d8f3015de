"""What ``gradloom predict`` predicts with: a model file, or a job of a running cluster.

A job whose model knows all that is needed lends its model, and this process predicts; one that serves is asked.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.cli.connecting import connect
from gradloom.client import Job
from gradloom.data.shard import Labels
from gradloom.models import Model, Neighbors, load_model


@dataclass(frozen=True, slots=True)
class Asked:
    """A job that serves, in the place of a model."""

    job: Job
    model: Model
    """Knows the columns and classes."""

    @property
    def features(self) -> tuple[str, ...]:
        """Columns of X, in order."""
        return self.model.features

    @property
    def classes(self) -> Labels | None:
        """None where there are none."""
        return self.model.classes

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """The prediction of each row."""
        return self.job.predict(X)

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Probability of each class."""
        return self.job.predict_proba(X)


@contextmanager
def predictor(name: Path, cluster: str | None) -> Iterator[Model | Asked]:
    """The model in a file of this name, or the job of this name if there is no file and a cluster is given.

    Raises NotFound, and whatever loading a model or asking a cluster raises.
    """
    if cluster is None or name.exists():
        yield load_model(name)
        return
    with connect(cluster) as client:
        job = client.job(str(name))
        model = job.model()
        yield Asked(job, model) if isinstance(model, Neighbors) and not model.self_contained else model
