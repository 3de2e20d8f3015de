"""Linear models: an objective, an optimizer and an L2 penalty, composed into one algorithm.

    minimise over w, b:   1/W sum_i s_i loss(y_i, x_i w + b)  +  l2/2 |w|^2,        W = sum_i s_i

Workers know only the objective: they return sums of loss and gradient over their rows. The penalty, the division
by W and the optimizer are the coordinator's. Parameters are float64 everywhere; a worker casts them to the dtype
of its rows. Nothing here loops over rows.
"""

from dataclasses import dataclass, replace
from math import inf, isfinite, prod
from sys import float_info

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms.algorithm import Needs, Progress, Task
from gradloom.algorithms.linear_settings import ClassifierSettings, LinearSettings
from gradloom.algorithms.local_steps import Batch, averaged, moments_of, walk
from gradloom.data.preparation import aligned_empty
from gradloom.data.shard import Rows, Shard
from gradloom.errors import InvalidInput, JobFailed
from gradloom.models import Linear, Model, probabilities
from gradloom.objectives import Objective
from gradloom.optimizers import Adam, AnyOptimizer, GradientDescent, Lbfgs, Momentum, OptimizerState
from gradloom.optimizers.first_order import FirstOrderState
from gradloom.rng import shuffled_rows
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.scores import classification_scores, classification_sums, regression_scores, regression_sums
from gradloom.tensors import Tensors, sum_tensors

Vector = NDArray[np.float64]
DEFAULT_LEARNING_RATE = 0.01
LOSS_NOISE = {"float32": 1e-6, "float64": 1e-14}
"""Relative error of a loss that was computed from rows of this dtype."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearState:
    """Where the training stands."""

    schema: Schema
    optimizer: OptimizerState
    round: int = 0
    loss: float | None = None
    """At the point of the last round, penalty included."""
    first_gradient_norm: float = inf
    validation_loss: float | None = None
    best_validation_loss: float = inf
    best_parameters: Vector | None = None
    """The point with the best validation loss; kept only with ``patience``."""
    rounds_without_better: int = 0


@dataclass(frozen=True, slots=True)
class LinearModel:
    """One linear model with its settings; a value that coordinator and workers build alike."""

    name: str
    version: int
    task: Task
    objective: Objective
    settings: LinearSettings

    @property
    def needs(self) -> Needs:
        """How rows are prepared."""
        s = self.settings
        class_weight = s.class_weight if isinstance(s, ClassifierSettings) else ""
        return Needs(
            self.task,
            s.dtype,
            s.standardize,
            s.validation_fraction,
            class_weight,
            gradients=("gradient",),
            parameters=("coefficients",),
        )

    # --- the loop ------------------------------------------------------------------------------------------------

    def start(self, schema: Schema) -> LinearState:
        """All parameters zero. Raises InvalidInput if the classes of the data do not suit the task."""
        allowed = {"regression": (0, 0), "binary": (2, 2), "multiclass": (2, inf)}[self.task]
        if not allowed[0] <= schema.n_classes <= allowed[1]:
            raise InvalidInput(
                schema.target, f"has {schema.n_classes} classes, which {self.name} can't learn"
            )
        size = schema.n_features * self._outputs(schema) + self._outputs(schema) * self.settings.fit_intercept
        return LinearState(schema, self._optimizer(schema.n_features).init(np.zeros(size)))

    def broadcast(self, state: LinearState) -> Tensors:
        """coefficients (d,) or (d, K), intercept () or (K,) float64; round, seed () int64."""
        coefficients, intercept = self._unpack(state.optimizer.point, state.schema)
        return {
            "coefficients": coefficients,
            "intercept": intercept,
            "round": np.asarray(state.round, dtype=np.int64),
            "seed": np.asarray(state.schema.preparation.split.seed, dtype=np.int64),
            **(
                moments_of(state.optimizer)
                if isinstance(state.optimizer, FirstOrderState) and self._walks
                else {}
            ),
        }

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        """Sums over the shard's rows, all float64.

        loss, weight, rows (), gradient (d,) or (d, K), intercept_gradient () or (K,) over the train rows or this
        round's batch of them; validation_loss, validation_weight () over the validation rows.
        """
        w, b = message["coefficients"], message["intercept"]
        held = shard.validation
        validation_loss, validation_weight = self.objective.loss(held.X, held.y, held.weight, w, b)
        validation = {
            "validation_loss": np.asarray(validation_loss),
            "validation_weight": np.asarray(validation_weight),
        }
        if self._walks:
            return {**self._walk(shard, message), **validation}
        train = self._batch(shard, int(message["round"]), int(message["seed"]))
        sums = self.objective.sums(train.X, train.y, train.weight, w, b)
        return {
            "loss": np.asarray(sums.loss),
            "weight": np.asarray(sums.weight),
            "rows": np.asarray(float(len(train))),
            "gradient": sums.coefficients,
            "intercept_gradient": sums.intercept,
            **validation,
        }

    merge = staticmethod(sum_tensors)

    def update(self, state: LinearState, total: Tensors) -> LinearState:
        """One evaluation goes into the optimizer. Raises JobFailed if it is not finite: the training diverged."""
        if self._walks:
            loss, stepped = self._averaged(state, total)
        else:
            loss, gradient = self._penalised(state, total)
            stepped = self._optimizer(state.schema.n_features).update(state.optimizer, loss, gradient)
        first = stepped.gradient_norm if state.round == 0 else state.first_gradient_norm
        after = replace(state, optimizer=stepped, round=state.round + 1, loss=loss, first_gradient_norm=first)
        return self._validated(after, state.optimizer.point, total)

    @property
    def takes_part_sums(self) -> bool:
        """Steps along the gradient do; a line search compares losses, which must be of the same rows."""
        return self.settings.optimizer != "lbfgs" and not self._walks

    def damped(self, partial: Tensors, factor: float) -> Tensors:
        """The gradient shrinks, what was seen (loss, weight, rows) does not: so the step is the shorter one."""
        names = ("gradient", "intercept_gradient")
        return {**partial, **{name: partial[name] * factor for name in names}}

    def save(self, state: LinearState) -> Saved:
        """All but the schema; the optimizer's state is a part of it."""
        return save_value(state, "schema")

    def restore(self, schema: Schema, saved: Saved) -> LinearState:
        """The state that was saved."""
        optimizer = self._optimizer(schema.n_features).restore(saved.under("optimizer"))
        return restore_value(LinearState, saved, schema=schema, optimizer=optimizer)

    def done(self, state: LinearState) -> str | None:
        """Converged, stalled, out of patience, or out of rounds."""
        s, stepped = self.settings, state.optimizer
        full_pass = s.batch_size == 0  # the gradient of one batch says little about convergence
        if state.round == 0:
            return None
        if full_pass and stepped.gradient_norm <= s.tolerance * state.first_gradient_norm:
            return f"converged: the gradient is at most {s.tolerance:g} of what it was at first"
        if stepped.stalled is not None:
            return f"converged: {stepped.stalled}"
        if s.patience and state.rounds_without_better >= s.patience:
            return f"no better validation loss in {s.patience} rounds"
        if state.round >= s.max_rounds:
            return f"max_rounds = {s.max_rounds} reached"
        return None

    def finish(self, state: LinearState) -> Model:
        """The model on raw columns: x w' + b' = ((x - center) / scale) w + b."""
        schema, preparation = state.schema, state.schema.preparation
        coefficients, intercept = self._unpack(self._solution(state), schema)
        if preparation.scale:
            coefficients = (coefficients.T / np.asarray(preparation.scale)).T
        if preparation.center:
            intercept = intercept - np.asarray(preparation.center) @ coefficients
        return Linear(
            algorithm=self.name,
            version=self.version,
            features=schema.features,
            target=schema.target,
            classes=schema.classes,
            coefficients=np.ascontiguousarray(coefficients),
            intercept=np.asarray(intercept),
            settings=self.settings.model_dump(),
            metadata={
                "train_rows": schema.train_rows,
                "train_weight": schema.train_weight,
                "rounds": state.round,
                "stopped": self.done(state) or "stopped early",
            },
        )

    def progress(self, state: LinearState) -> Progress:
        """Loss of the last round, penalty included, and the gradient's largest entry."""
        seen = state.round > 0
        return Progress(
            iteration=state.round,
            max_iterations=self.settings.max_rounds,
            loss=state.loss,
            gradient_norm=state.optimizer.gradient_norm if seen else None,
            validation_loss=state.validation_loss,
            learning_rate=state.optimizer.learning_rate,
        )

    # --- held-out rows -------------------------------------------------------------------------------------------

    def solution(self, state: LinearState) -> Tensors:
        """coefficients and intercept of the best answer so far, on the columns that workers hold."""
        coefficients, intercept = self._unpack(self._solution(state), state.schema)
        return {"coefficients": coefficients, "intercept": intercept}

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        """Metric sums of the solution; see ``gradloom.scores``."""
        z = rows.X @ solution["coefficients"] + solution["intercept"]
        if self.task == "regression":
            return regression_sums(rows.y, z, rows.weight, center=float(solution["intercept"]))
        return classification_sums(rows.y, probabilities(z), rows.weight)

    def scores(self, total: Tensors) -> dict[str, float]:
        """accuracy, log_loss and roc_auc, or r2, rmse and mae."""
        return regression_scores(total) if self.task == "regression" else classification_scores(total)

    # --- parts ---------------------------------------------------------------------------------------------------

    def _outputs(self, schema: Schema) -> int:
        return schema.n_classes if self.task == "multiclass" else 1

    def _unpack(self, parameters: Vector, schema: Schema) -> tuple[Vector, Vector]:
        """The flat vector as coefficients and intercept; the intercept comes last, or not at all."""
        outputs = (self._outputs(schema),) if self.task == "multiclass" else ()
        return self._split(parameters, (schema.n_features, *outputs))

    def _split(self, parameters: Vector, shape: tuple[int, ...]) -> tuple[Vector, Vector]:
        """The flat vector as coefficients of this shape and what is left of it."""
        size = prod(shape)
        if not self.settings.fit_intercept:
            return parameters[:size].reshape(shape), np.zeros(shape[1:])
        return parameters[:size].reshape(shape), parameters[size:].reshape(shape[1:])

    def _joined(self, coefficients: Vector, intercept: Vector) -> Vector:
        """The flat vector again: what belongs to an intercept that is not learnt is left out."""
        parts = (coefficients, intercept) if self.settings.fit_intercept else (coefficients,)
        return np.concatenate([part.ravel() for part in parts])

    def _batch(self, shard: Shard, round_: int, seed: int) -> Rows:
        """The train rows of this round: all, or the next batch of a permutation that is new in every epoch."""
        rows, size = shard.train, self.settings.batch_size
        if size == 0 or size >= len(rows):
            return rows
        epoch, step = divmod(round_, -(-len(rows) // size))
        order = shuffled_rows(seed, shard.index, epoch, len(rows))
        chosen = order[step * size : (step + 1) * size]
        X = aligned_empty((len(chosen), rows.X.shape[1]), rows.X.dtype)
        np.take(rows.X, chosen, axis=0, out=X)
        weight = None if rows.weight is None else rows.weight[chosen]
        return Rows(X, rows.y[chosen], weight, rows.positions[chosen])

    # --- local steps ---------------------------------------------------------------------------------------------

    @property
    def _walks(self) -> bool:
        """Whether shards take steps by themselves."""
        return self.settings.local_steps > 1

    def _walk(self, shard: Shard, message: Tensors) -> Tensors:
        """``local_steps`` steps on batches of one shard; see ``gradloom.algorithms.local_steps``."""
        w, b = message["coefficients"], message["intercept"]
        steps, first = self.settings.local_steps, int(message["round"]) * self.settings.local_steps

        def evaluate(i: int, point: Vector) -> Batch:
            rows = self._batch(shard, first + i, int(message["seed"]))
            w_i, b_i = self._split(point, w.shape)
            sums = self.objective.sums(rows.X, rows.y, rows.weight, w_i, b_i)
            weight = max(float(sums.weight), float_info.min)
            gradient = self._joined(
                sums.coefficients / weight + self.settings.l2 * w_i, sums.intercept / weight
            )
            return Batch(float(sums.loss), float(sums.weight), len(rows), gradient)

        return walk(self._optimizer(w.shape[0]), self._joined(w, b), message, steps, evaluate)

    def _averaged(self, state: LinearState, total: Tensors) -> tuple[float, FirstOrderState]:
        loss, before = self._mean_loss(state, total), state.optimizer
        assert isinstance(before, FirstOrderState)
        stepped = averaged(
            before, total, loss, self._step_length(state.schema.n_features), self.settings.local_steps
        )
        if not np.isfinite(stepped.point).all():
            raise self._diverged(state)
        return loss, stepped

    def _penalised(self, state: LinearState, total: Tensors) -> tuple[float, Vector]:
        loss, weight = self._mean_loss(state, total), float(total["weight"])
        coefficients, _ = self._unpack(state.optimizer.point, state.schema)
        gradient = self._joined(
            total["gradient"] / weight + self.settings.l2 * coefficients, total["intercept_gradient"] / weight
        )
        if not np.isfinite(gradient).all():
            raise self._diverged(state)
        return loss, gradient

    def _mean_loss(self, state: LinearState, total: Tensors) -> float:
        """Per unit of weight, penalty included. Raises JobFailed where that is no finite number."""
        weight = float(total["weight"])
        if weight <= 0:
            raise JobFailed(
                f"no row of round {state.round} has a weight above 0; a larger batch_size may hold some"
            )
        coefficients, _ = self._unpack(state.optimizer.point, state.schema)
        penalty = 0.5 * self.settings.l2 * float(np.vdot(coefficients, coefficients))
        loss = float(total["loss"]) / weight + penalty
        if not isfinite(loss):
            raise self._diverged(state)
        return loss

    def _diverged(self, state: LinearState) -> JobFailed:
        rate = state.optimizer.learning_rate
        cure = "the values of the data are too large; try standardize=true, dtype=float64"
        if rate is not None:
            cure = f"the training diverged; a learning_rate smaller than {rate:g} is needed"
        return JobFailed(f"the loss of round {state.round} is not a finite number: {cure}")

    def _validated(self, state: LinearState, point: Vector, total: Tensors) -> LinearState:
        weight = float(total["validation_weight"])
        if weight <= 0:
            return state
        loss = float(total["validation_loss"]) / weight
        state = replace(state, validation_loss=loss)
        if not self.settings.patience:
            return state
        if loss < state.best_validation_loss:
            return replace(state, best_validation_loss=loss, best_parameters=point, rounds_without_better=0)
        return replace(state, rounds_without_better=state.rounds_without_better + 1)

    def _solution(self, state: LinearState) -> Vector:
        return state.optimizer.solution if state.best_parameters is None else state.best_parameters

    def _optimizer(self, n_features: int) -> AnyOptimizer:
        s = self.settings
        match s.optimizer:
            case "lbfgs":
                return Lbfgs(noise=LOSS_NOISE[s.dtype])
            case "gradient_descent":
                return GradientDescent(self._step_length(n_features))
            case "momentum":
                return Momentum(self._step_length(n_features), s.momentum, s.nesterov)
            case "adam":
                return Adam(self._step_length(n_features), s.beta1, s.beta2, s.epsilon)

    def _step_length(self, n_features: int) -> float:
        """The learning_rate that was set, else Adam's default, else 1/L.

        On d standardised columns and an intercept the Hessian's largest eigenvalue is at most its trace,
        L <= curvature (d + 1) + l2: a step of 1/L never raises the loss. (Unequal weights may stretch that bound.)
        """
        s = self.settings
        if s.learning_rate is not None:
            return s.learning_rate
        if s.optimizer == "adam" or not s.standardize:
            return DEFAULT_LEARNING_RATE
        return 1.0 / (self.objective.curvature * (n_features + 1) + s.l2)
