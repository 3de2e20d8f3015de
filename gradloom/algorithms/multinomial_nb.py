"""Multinomial naive Bayes: columns are counts of events, drawn with other probabilities in each class.

    N_kj = sum_{i of class k} w_i x_ij,    ln p_kj = ln(N_kj + alpha) - ln sum_j (N_kj + alpha)

One round. Negative cells are refused when the data is looked at, with the column and the row named.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms.algorithm import Needs, Progress, WholeRounds
from gradloom.algorithms.naive_bayes_priors import check_priors, log_priors
from gradloom.algorithms.naive_bayes_settings import MultinomialSettings
from gradloom.data.shard import Rows, Shard
from gradloom.models import Model, NaiveBayes
from gradloom.models.naive_bayes import log_likelihoods, normalised
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.scores import classification_scores, classification_sums
from gradloom.tensors import Tensors, sum_tensors

Vector = NDArray[np.float64]
LEAST_ALPHA = 1e-10
"""scikit-learn's: the logarithm of 0 is of no use."""


@dataclass(frozen=True, slots=True, eq=False)
class MultinomialState:
    """Where the training stands."""

    schema: Schema
    round: int = 0
    weight: Vector | None = None
    """(K,) of the classes."""
    counts: Vector | None = None
    """(K, d)"""


@dataclass(frozen=True, slots=True)
class MultinomialNaiveBayes(WholeRounds):
    """Multinomial naive Bayes with its settings; a value that coordinator and workers build alike."""

    settings: MultinomialSettings
    name: str = "multinomial_nb"
    version: int = 1

    @property
    def needs(self) -> Needs:
        """Two or more classes; no cell below 0."""
        return Needs("multiclass", self.settings.dtype, standardize=False, nonnegative=True)

    # --- the loop ------------------------------------------------------------------------------------------------

    def start(self, schema: Schema) -> MultinomialState:
        """Nothing is known. Raises InvalidInput if the priors are not one a class."""
        check_priors(self.settings, schema)
        return MultinomialState(schema)

    def broadcast(self, state: MultinomialState) -> Tensors:
        """classes () int64."""
        return {"classes": np.asarray(state.schema.n_classes, dtype=np.int64)}

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        """Float64 sums over the train rows of each class: weight (K,), counts (K, d)."""
        rows, k = shard.train, int(message["classes"])
        weight = np.bincount(rows.y, rows.weight, k).astype(np.float64)
        counts = np.zeros((k, rows.X.shape[1]))
        for label in np.unique(rows.y):
            chosen = rows.y == label
            X = rows.X[chosen]
            if rows.weight is None:
                counts[label] = X.sum(axis=0, dtype=np.float64)
            else:
                counts[label] = rows.weight[chosen] @ X
        return {"weight": weight, "counts": counts}

    merge = staticmethod(sum_tensors)

    def update(self, state: MultinomialState, total: Tensors) -> MultinomialState:
        """The counts."""
        return replace(state, round=state.round + 1, weight=total["weight"], counts=total["counts"])

    def save(self, state: MultinomialState) -> Saved:
        """All but the schema."""
        return save_value(state, "schema")

    def restore(self, schema: Schema, saved: Saved) -> MultinomialState:
        """The state that was saved."""
        return restore_value(MultinomialState, saved, schema=schema)

    def done(self, state: MultinomialState) -> str | None:
        """After one round."""
        return "all rows are counted" if state.round else None

    def finish(self, state: MultinomialState) -> Model:
        """The model."""
        schema, arrays = state.schema, self.solution(state)
        return NaiveBayes(
            algorithm=self.name,
            version=self.version,
            features=schema.features,
            target=schema.target,
            classes=schema.classes,
            log_priors=arrays["log_priors"],
            class_weights=np.zeros(schema.n_classes) if state.weight is None else state.weight,
            log_probabilities=arrays["log_probabilities"],
            counts=state.counts,
            settings=self.settings.model_dump(),
            metadata={
                "train_rows": schema.train_rows,
                "train_weight": schema.train_weight,
                "rounds": state.round,
                "stopped": self.done(state) or "stopped early",
            },
        )

    def progress(self, state: MultinomialState) -> Progress:
        """Rounds."""
        return Progress(iteration=state.round, max_iterations=1)

    # --- held-out rows -------------------------------------------------------------------------------------------

    def solution(self, state: MultinomialState) -> Tensors:
        """log_priors (K,), log_probabilities (K, d)."""
        s, k = self.settings, state.schema.n_classes
        counts = np.zeros((k, state.schema.n_features)) if state.counts is None else state.counts
        smoothed = counts + max(s.alpha, LEAST_ALPHA)
        logs = np.log(smoothed) - np.log(smoothed.sum(axis=1, keepdims=True))
        return {
            "log_priors": log_priors(s, state.weight if s.fit_prior else None, k),
            "log_probabilities": logs,
        }

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        """Metric sums; see ``gradloom.scores``."""
        probabilities = np.exp(normalised(log_likelihoods(rows.X, solution)))
        return classification_sums(rows.y, probabilities, rows.weight)

    def scores(self, total: Tensors) -> dict[str, float]:
        """accuracy, log_loss and, with two classes, roc_auc."""
        return classification_scores(total)
