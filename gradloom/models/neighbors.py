"""A model of nearest neighbours: the rows themselves, or only a word of where they are.

With its rows it answers anywhere, in blocks of queries, as a job that serves does. Without them (they are too many for
a file) only the job can be asked, by ``Query``.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from gradloom.data.shard import Rows
from gradloom.errors import InvalidInput
from gradloom.models.model import Floats, Model, label_array
from gradloom.nearest.answers import (
    MAX_LISTED,
    MAX_NEIGHBORS,
    MAX_WITHIN,
    Answer,
    Ask,
    Neighbours,
    NeighboursWithin,
    Question,
    Voting,
    joined_answers,
)
from gradloom.nearest.distances import Metric
from gradloom.nearest.searching import Search, SearchName, as_queries, tile_rows
from gradloom.nearest.voting import Weights
from gradloom.tensors import Tensors


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Neighbors(Model):
    """Rows on the columns that distances are measured on, with their targets; or none, if a job serves them."""

    kind: ClassVar[str] = "neighbors"

    rows: NDArray[Any]  # (n, d) float32 or float64; n = 0: they are elsewhere
    targets: Floats  # (n,) class index or value; 0 without a target
    ids: NDArray[np.int64]  # (n,) rising: positions in the data set
    middle: Floats  # (d,) near the mean of the rows (of rows of length 1 for cosine)
    shift: Floats  # (d,) subtracted from raw columns, or (0,)
    scale: Floats  # (d,) by which they are then divided, or (0,)

    @property
    def arrays(self) -> Tensors:
        """The rows with their targets and ids, and how queries are prepared."""
        return {
            "rows": self.rows,
            "targets": self.targets,
            "ids": self.ids,
            "middle": self.middle,
            "shift": self.shift,
            "scale": self.scale,
        }

    def check_arrays(self) -> None:
        """A target and an id for each row, and a column for each feature."""
        d = len(self.features)
        shapes = {
            "rows": (len(self.rows), d),
            "targets": (len(self.rows),),
            "ids": (len(self.rows),),
            "middle": (d,),
        }
        for name, shape in shapes.items():
            if self.arrays[name].shape != shape:
                raise ValueError(f"{name} of shape {self.arrays[name].shape}, not {shape}")
        if not {self.shift.shape, self.scale.shape} <= {(d,), (0,)}:
            raise ValueError(
                f"shift and scale of shapes {self.shift.shape} and {self.scale.shape}, not {(d,)}"
            )

    @property
    def self_contained(self) -> bool:
        """Whether it holds the rows."""
        return len(self.rows) > 0

    def predict(self, X: object) -> NDArray[Any]:
        """What the neighbours of each row say, shape (n,): the class of most votes, or the mean of their targets.

        Without a target it is the id of the nearest row. Raises InvalidInput.
        """
        return self._values(X, Ask.PREDICTIONS)

    def predict_proba(self, X: object) -> Floats:
        """Share of each class in the votes, in the order of ``classes``; shape (n, K). Raises InvalidInput."""
        if self.classes is None:
            return Model.predict_proba(self, X)
        return self._values(X, Ask.PROBABILITIES)

    def kneighbors(self, X: object, n_neighbors: int | None = None) -> Neighbours:
        """The nearest rows of each row of X; ``n_neighbors`` as the model was trained with if None.

        Raises InvalidInput, also where there are fewer rows than neighbours.
        """
        answer = self.answer(Question(Ask.NEIGHBORS, n_neighbors or 0), X)
        assert isinstance(answer, Neighbours)
        return answer

    def radius_neighbors(self, X: object, radius: float | None = None) -> NeighboursWithin:
        """All rows within ``radius`` of each row of X, or within the one that the model was trained with."""
        answer = self.answer(Question(Ask.WITHIN, radius=radius), X)
        assert isinstance(answer, NeighboursWithin)
        return answer

    def answer(self, question: Question, X: object) -> Answer:
        """What the rows say of each row of X (n, d), on raw columns. Raises InvalidInput."""
        self._refuse_without_rows()
        k, radius = checked_question(question, self.voting, self.settings, len(self.rows))
        given = self.checked(X).astype(np.float64)
        self.refuse_not_finite(given, np.where(np.isfinite(given).all(axis=1), 0.0, np.nan))
        queries = as_queries(given, tuple(self.shift), tuple(self.scale), self.rows.dtype.name)
        rows = Rows(self.rows, self.targets, None, self.ids)
        voting, search, step = self.voting, self._search, tile_rows(k)
        if question.ask is Ask.WITHIN:
            return voting.answer(question.ask, search.within(rows, queries, np.full(len(queries), radius)))
        parts = [
            voting.answer(question.ask, search.nearest(rows, 0, queries[start : start + step], k))
            for start in range(0, max(1, len(queries)), step)
        ]  # what is predicted is much smaller than the lists that say so
        return joined_answers(parts)

    def check_size(self, question: Question, n_queries: int) -> None:
        """Refuse a question whose answer is too large for a client. Raises InvalidInput."""
        self._refuse_without_rows()
        checked_question(question, self.voting, self.settings, len(self.rows), n_queries)

    def scores(self, X: object, y: object, weight: object = None) -> dict[str, float]:
        """As every model's; {} where there is no target."""
        return Model.scores(self, X, y, weight) if self.voting.predicts else {}

    @property
    def voting(self) -> Voting:
        """What neighbours are made to say."""
        metric = cast("Metric", self.settings["metric"])
        weights = cast("Weights", self.settings.get("weights", "uniform"))
        labels = None if self.classes is None else label_array(self.classes)
        return Voting(metric, weights, bool(self.target), labels)

    def to_sklearn(self) -> Any:
        """A fitted KNeighborsClassifier, KNeighborsRegressor or NearestNeighbors. Raises InvalidInput without rows."""
        from gradloom.models.neighbors_sklearn import to_sklearn

        self._refuse_without_rows()
        return to_sklearn(self)

    @property
    def _search(self) -> Search:
        s = self.settings
        algorithm = cast("SearchName", s["algorithm"])
        return Search(self.voting.metric, algorithm, int(s["lists"] or 0), int(s["probes"] or 1), self.middle)

    def _values(self, X: object, ask: Ask) -> NDArray[Any]:
        answer = self.answer(Question(ask), X)
        assert not isinstance(answer, Neighbours | NeighboursWithin)
        return answer.values

    def _refuse_without_rows(self) -> None:
        if self.self_contained:
            return
        job = self.metadata.get("job_id") or "JOB"
        raise InvalidInput(
            "model",
            f"its {self.metadata.get('train_rows')} rows are not in the model but with the workers of job {job}:"
            " ask that while it serves (gradloom predict, or query in Python)",
        )


def checked_question(
    question: Question, voting: Voting, settings: Any, n_rows: int, n_queries: int = 0
) -> tuple[int, float]:
    """How many neighbours and what radius a question means. Raises InvalidInput for what can't be answered.

    ``n_queries``: rows that are asked about, where the answer goes to a client; 0 = it does not.
    """
    voting.check(question.ask)
    k = (
        question.neighbors
        if question.ask is Ask.NEIGHBORS and question.neighbors
        else int(settings["n_neighbors"])
    )
    most = min(n_rows, MAX_NEIGHBORS)
    if question.neighbors < 0 or (question.ask is not Ask.WITHIN and k > most):
        asked = question.neighbors if question.ask is Ask.NEIGHBORS else k
        why = "the number of rows" if most == n_rows else f"of {n_rows} rows"
        raise InvalidInput("neighbors", f"{asked} is not allowed; it must lie in [1, {most}], {why}")
    each = {Ask.NEIGHBORS: k, Ask.WITHIN: MAX_WITHIN}.get(question.ask, 1)
    if n_queries * each > MAX_LISTED:
        raise InvalidInput(
            "X",
            f"has {n_queries} rows, of which each may have {each} neighbours in the answer; ask about"
            f" {MAX_LISTED // each} rows at once",
        )
    radius = float(settings["radius"]) if question.radius is None else question.radius
    if not 0.0 <= radius < float("inf"):
        raise InvalidInput("radius", f"{radius} is not allowed; it must be a number of at least 0")
    return k, radius
