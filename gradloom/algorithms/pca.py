"""Principal component analysis: directions of largest variance of the rows, from sums that workers return.

    C = 1/(W - 1) sum_i w_i (x_i - m)(x_i - m)^T,      C v = lambda v,      a row of weight 2 is two rows

gram         one round: sum w x x^T (d, d), whose eigenvectors are the components. Exact.
randomized   a few rounds of Z = sum w x (x^T Q) for an orthonormal Q (d, q), which turns towards the directions of
             largest variance; at last the components in the space of Q (Rayleigh-Ritz). For more columns than a matrix
             of d^2 fits. Source: Halko, Martinsson, Tropp, "Finding structure with randomness", SIAM Review 2011.

Columns are centred before they are cast to their dtype, and sums run in float64: no digit is lost to a large mean.
The sign of a component is scikit-learn's: its entry of largest size is positive.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms.algorithm import Needs, Progress, WholeRounds
from gradloom.algorithms.pca_settings import ALL, PcaSettings
from gradloom.data.preparation import aligned_empty
from gradloom.data.shard import Rows, Shard
from gradloom.errors import DataError, InvalidInput
from gradloom.models import Components, Model
from gradloom.rng import random_words
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.tensors import Tensors, sum_tensors

Vector = NDArray[np.float64]
MAX_GRAM_COLUMNS = 4096
"""That ``auto`` takes the matrix of columns for, whatever the rows."""
MOST_GRAM_COLUMNS = 8192
"""Half a GiB a shard."""
MOST_DIRECTIONS = 1 << 26
"""Numbers of as many directions as there are rows, half a GiB: they span all rows, and nothing is random in them."""
BLOCK_BYTES = 4 << 20
MIN_ROWS = 128
STREAM = 0x9CA
"""Of the random numbers that the first directions are made of."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Components on centred columns, and what they explain."""

    mean: Vector  # (d,)
    components: Vector  # (m, d)
    variance: Vector  # (m,)
    total_variance: float
    noise_variance: float


@dataclass(frozen=True, slots=True, eq=False)
class PcaState:
    """Where the training stands."""

    schema: Schema
    round: int = 0
    basis: Vector | None = None
    """(d, q) orthonormal, where components are searched in the span of directions."""
    found: Found | None = None


@dataclass(frozen=True, slots=True)
class Pca(WholeRounds):  # the components of some shards are not those of all
    """PCA with its settings; a value that coordinator and workers build alike."""

    settings: PcaSettings
    name: str = "pca"
    version: int = 1

    @property
    def needs(self) -> Needs:
        """Centred columns; no target is looked at."""
        return Needs("unsupervised", self.settings.dtype, standardize=False, center=True, heavy_update=True)

    # --- the loop ------------------------------------------------------------------------------------------------

    def start(self, schema: Schema) -> PcaState:
        """Nothing, or random directions. Raises InvalidInput for more components than there can be."""
        wanted, most = self.settings.n_components, _rank(schema)
        if schema.train_rows < 2:
            raise DataError("data", f"has {schema.train_rows} train rows; a variance needs two")
        if isinstance(wanted, int) and wanted > most:
            raise InvalidInput(
                "n_components",
                f"{wanted} is more than there can be, {most}, of {schema.train_rows} train rows and "
                f"{schema.n_features} columns",
            )
        self._refuse_too_large(schema)
        if not self._randomized(schema):
            return PcaState(schema)
        d, q = schema.n_features, most
        if isinstance(wanted, int):
            q = min(wanted + self.settings.oversamples, most)
        words = random_words(schema.preparation.split.seed, STREAM, (0, 0), d * q)
        uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53 - 0.5
        return PcaState(schema, basis=_orthonormal(uniform.reshape(d, q)))

    def broadcast(self, state: PcaState) -> Tensors:
        """basis (d, q) float64 of the randomized solver; nothing else is needed."""
        return {} if state.basis is None else {"basis": state.basis}

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        """Float64 sums over the train rows: weight (), sum (d,), and squares (), product (d, q), or gram (d, d)."""
        rows, basis = shard.train, message.get("basis")
        d = rows.X.shape[1]
        weight, total, squares = 0.0, np.zeros(d), 0.0
        product = np.zeros((d, d) if basis is None else basis.shape)
        scratch = aligned_empty((min(_step(d), len(rows)), d), np.dtype(np.float64))
        for start in range(0, len(rows), _step(d)):
            block = slice(start, start + _step(d))
            X = scratch[: len(rows.X[block])]
            X[...] = rows.X[block]
            if rows.weight is None:
                weight, total = weight + len(X), total + X.sum(axis=0)
            else:
                s = rows.weight[block]
                weight, total = weight + float(s.sum()), total + s @ X
                X *= np.sqrt(s)[:, np.newaxis]
            squares += float(np.vdot(X, X))
            product += X.T @ X if basis is None else X.T @ (X @ basis)
        sums = {"weight": np.asarray(weight), "sum": total}
        if basis is None:
            return {**sums, "gram": product}
        return {**sums, "squares": np.asarray(squares), "product": product}

    merge = staticmethod(sum_tensors)

    def update(self, state: PcaState, total: Tensors) -> PcaState:
        """The components, or directions that lie nearer to them. Raises DataError for weights that sum to 1 or less."""
        weight = float(total["weight"])
        if weight <= 1:
            raise DataError(
                "weight",
                f"the train rows weigh {weight:g}; a row of weight 2 counts as two, and it takes more than one",
            )
        mean = total["sum"] / weight  # what is left of it after centring: 0 but for weights and rounding
        after = replace(state, round=state.round + 1)
        if state.basis is None:
            covariance = (total["gram"] - weight * np.outer(mean, mean)) / (weight - 1.0)
            return replace(after, found=self._decomposed(state.schema, mean, covariance))
        product = (total["product"] - weight * np.outer(mean, mean @ state.basis)) / (weight - 1.0)
        variance = float(total["squares"] - weight * (mean @ mean)) / (weight - 1.0)
        if state.round < self._last_round(state.schema):
            return replace(after, basis=_orthonormal(product))
        return replace(after, found=self._in_basis(state, mean, product, variance))

    def save(self, state: PcaState) -> Saved:
        """All but the schema."""
        return save_value(state, "schema")

    def restore(self, schema: Schema, saved: Saved) -> PcaState:
        """The state that was saved."""
        return restore_value(PcaState, saved, schema=schema)

    def done(self, state: PcaState) -> str | None:
        """Once the components are found."""
        if state.found is None:
            return None
        how = "randomized" if self._randomized(state.schema) else "exact"
        return f"{len(state.found.components)} components found ({how})"

    def finish(self, state: PcaState) -> Model:
        """The components on raw columns; none of them before they are found."""
        schema, found = state.schema, state.found or _nothing(state.schema)
        return Components(
            algorithm=self.name,
            version=self.version,
            features=schema.features,
            target=schema.target,
            classes=None,
            components=found.components,
            mean=found.mean + np.asarray(schema.preparation.center),
            explained_variance=found.variance,
            total_variance=np.asarray(found.total_variance),
            noise_variance=np.asarray(found.noise_variance),
            settings=self.settings.model_dump(),
            metadata={
                "train_rows": schema.train_rows,
                "train_weight": schema.train_weight,
                "solver": "randomized" if self._randomized(schema) else "gram",
                "rounds": state.round,
                "stopped": self.done(state) or "stopped early",
            },
        )

    def progress(self, state: PcaState) -> Progress:
        """The loss is the variance that the components leave unexplained."""
        found = state.found
        left = None if found is None else max(0.0, found.total_variance - float(found.variance.sum()))
        rounds = self._last_round(state.schema) + 1 if self._randomized(state.schema) else 1
        return Progress(iteration=state.round, max_iterations=rounds, loss=left)

    # --- held-out rows -------------------------------------------------------------------------------------------

    def solution(self, state: PcaState) -> Tensors:
        """components (m, d) and mean (d,) on centred columns."""
        found = state.found or _nothing(state.schema)
        return {"components": found.components, "mean": found.mean}

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        """Sums of weights, of weighted squared lengths, and of what the components leave of them."""
        components = solution["components"]
        s = np.ones(len(rows)) if rows.weight is None else rows.weight
        error = spread = 0.0
        step = _step(rows.X.shape[1])
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            centered = rows.X[block] - solution["mean"]
            left = centered - centered @ components.T @ components
            error += float(s[block] @ np.einsum("ij,ij->i", left, left))
            spread += float(s[block] @ np.einsum("ij,ij->i", centered, centered))
        return {"weight": np.asarray(s.sum()), "error": np.asarray(error), "spread": np.asarray(spread)}

    def scores(self, total: Tensors) -> dict[str, float]:
        """reconstruction_error and explained_variance_ratio; see ``gradloom.models.components``."""
        return Components.scores_of({name: float(value) for name, value in total.items()})

    # --- parts ---------------------------------------------------------------------------------------------------

    def _refuse_too_large(self, schema: Schema) -> None:
        d, wanted = schema.n_features, self.settings.n_components
        if self._randomized(schema) or d <= MOST_GRAM_COLUMNS:
            return
        if self.settings.solver == "gram":
            raise InvalidInput(
                "solver",
                f"gram needs {8 * d * d / 2**30:.1f} GiB a shard for {d} columns, and {MOST_GRAM_COLUMNS} are the most "
                "it takes; with a whole number of n_components the randomized solver takes any number",
            )
        raise InvalidInput(
            "n_components",
            f"{wanted!r} of {schema.train_rows} rows and {d} columns takes too much memory; a whole number is needed",
        )

    def _randomized(self, schema: Schema) -> bool:
        if self.settings.solver != "auto":
            return self.settings.solver == "randomized"
        if schema.n_features <= MAX_GRAM_COLUMNS:
            return False
        return isinstance(self.settings.n_components, int) or _spanned(schema)

    def _last_round(self, schema: Schema) -> int:
        """The round of the randomized solver that gives the components; the rounds before turn the directions."""
        if self.settings.power_iterations is not None:
            return self.settings.power_iterations + 1
        wanted = self.settings.n_components
        if not isinstance(wanted, int):
            return 1  # directions that span all rows are turned into them by one product
        few = isinstance(wanted, int) and wanted < 0.1 * _rank(schema)
        return 8 if few else 5

    def _decomposed(self, schema: Schema, mean: Vector, covariance: Vector) -> Found:
        values, vectors = np.linalg.eigh(covariance)
        rank = _rank(schema)
        values, components = np.maximum(values[::-1], 0.0)[:rank], vectors.T[::-1][:rank]
        total, m = float(values.sum()), self._count(values)
        noise = float(values[m:].mean()) if m < rank else 0.0
        return Found(mean, _signed(components[:m]), values[:m].copy(), total, noise)

    def _count(self, values: Vector) -> int:
        """How many components are wanted, by their variances."""
        wanted = self.settings.n_components
        if wanted == ALL:
            return len(values)
        if isinstance(wanted, int):
            return wanted
        total = float(values.sum())
        ratios = np.cumsum(values) / total if total > 0 else np.ones(len(values))
        return min(len(values), int(np.searchsorted(ratios, float(wanted), side="right")) + 1)

    def _in_basis(self, state: PcaState, mean: Vector, product: Vector, total: float) -> Found:
        """The best components in the span of the basis: eigenvectors of Q^T C Q."""
        assert state.basis is not None
        rank = _rank(state.schema)
        inner = state.basis.T @ product
        values, vectors = np.linalg.eigh((inner + inner.T) / 2.0)
        values = np.maximum(values[::-1], 0.0)
        m = self._count(values)
        values = values[:m].copy()
        components = (state.basis @ vectors[:, ::-1][:, :m]).T
        noise = max(0.0, total - float(values.sum())) / (rank - m) if m < rank else 0.0
        return Found(mean, _signed(components), values, total, noise)


def _step(d: int) -> int:
    """Rows of a block."""
    return max(MIN_ROWS, BLOCK_BYTES // (8 * d))


def _spanned(schema: Schema) -> bool:
    """Whether there are so few rows that directions which span them all take much less than columns^2 numbers."""
    rank, d = _rank(schema), schema.n_features
    return 2 * rank <= d and rank * d <= MOST_DIRECTIONS


def _rank(schema: Schema) -> int:
    """The most components that there can be."""
    return min(schema.train_rows, schema.n_features)


def _orthonormal(directions: Vector) -> Vector:
    return np.ascontiguousarray(np.linalg.qr(directions)[0])


def _signed(components: Vector) -> Vector:
    """Each row times 1 or -1, so that its entry of largest size is positive; the first of equals decides."""
    largest = np.abs(components).argmax(axis=1)
    signs = np.where(components[np.arange(len(components)), largest] < 0, -1.0, 1.0)
    return np.ascontiguousarray(components * signs[:, np.newaxis])


def _nothing(schema: Schema) -> Found:
    d = schema.n_features
    return Found(np.zeros(d), np.zeros((0, d)), np.zeros(0), 0.0, 0.0)
