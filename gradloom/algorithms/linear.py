"""Linear models: an objective, a solver and a penalty, composed into one algorithm.

    minimise over w, b:   1/W sum_i s_i loss(y_i, x_i w + b)  +  l1 |w|_1  +  l2/2 |w|^2,        W = sum_i s_i

or W times the first term, with ``penalty_per=sum``. Workers know only the objective: they return sums over their rows.
The penalty, the division by W and the solver are the coordinator's. Parameters are float64 everywhere; a worker casts
them to the dtype of its rows, which is float32 until that is what stands in the way (``polishing``), then float64.
"""

from dataclasses import dataclass, field, replace
from math import inf, isfinite

import numpy as np

from gradloom.algorithms.algorithm import Dtype, Needs, Progress, Task
from gradloom.algorithms.epoch_losses import EpochLosses
from gradloom.algorithms.epochs import steps_per_epoch
from gradloom.algorithms.linear_layout import Layout
from gradloom.algorithms.linear_partials import layout_of, message_of, partial_of, validation_of, walk_of
from gradloom.algorithms.linear_problem import NotFinite, Problem
from gradloom.algorithms.linear_settings import ClassifierSettings, LinearSettings
from gradloom.algorithms.local_steps import moments_of
from gradloom.data.shard import Rows, Shard
from gradloom.errors import InvalidInput, JobFailed
from gradloom.models import Linear, Model, probabilities
from gradloom.objectives import Objective
from gradloom.optimizers import AnyOptimizer, GramState, OptimizerState
from gradloom.optimizers.first_order import FirstOrderState
from gradloom.optimizers.lbfgs import LbfgsState
from gradloom.optimizers.lbfgsb import LbfgsbState
from gradloom.optimizers.optimizer import Vector
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.scores import classification_scores, classification_sums, regression_scores, regression_sums
from gradloom.tensors import Tensors, sum_tensors

FLOAT32_TOLERANCE = 1e-6
"""Below it a gradient relative to its first value means nothing in float32."""
POLISHING_FROM = 1e-5
"""Once the gradient is that small, relative to its first value, rows are float64 if the tolerance asks for it."""
POLISHED = ("newton", "lbfgs", "lbfgsb", "barzilai_borwein", "gradient_descent")


@dataclass(frozen=True, slots=True, eq=False)
class LinearState:
    """Where the training stands."""

    schema: Schema
    solver: str
    """As it was chosen at the start."""
    optimizer: OptimizerState
    round: int = 0
    loss: float | None = None
    """At the point of the last round, penalty included."""
    first_gradient_norm: float = inf
    polishing: bool = False
    """Whether rows are float64 from here on, though they began as float32."""
    validation_loss: float | None = None
    best_validation_loss: float = inf
    best_parameters: Vector | None = None
    """The point with the best validation loss; kept only with ``patience``."""
    rounds_without_better: int = 0
    epochs: EpochLosses = field(default_factory=EpochLosses)


@dataclass(frozen=True, slots=True)
class LinearModel:
    """One linear model with its settings; a value that coordinator and workers build alike."""

    name: str
    version: int
    task: Task
    objective: Objective
    settings: LinearSettings
    one_versus_rest: bool = False
    """Whether more than two classes have an output each, beside one for two."""

    @property
    def needs(self) -> Needs:
        """How rows are prepared. Least squares may be solved from one matrix, which nothing lossy may touch."""
        s = self.settings
        squared = self.objective.name == "squared" and s.solver in ("auto", "gram") and not s.stepper
        exact = squared or s.solver == "newton"
        return Needs(
            self.task,
            "float64" if squared and s.tolerance < FLOAT32_TOLERANCE else s.dtype,
            s.standardize,
            s.validation_fraction,
            s.class_weight if isinstance(s, ClassifierSettings) else "",
            gradients=() if exact or self._walks else ("gradient",),
            parameters=("coefficients",),
            heavy_update=s.l1 > 0 and not s.stepper,  # signs to search for, or the corners of a box
            center=s.fit_intercept and not self._penalizes_intercept and not s.standardize,
        )

    def dtype_of(self, state: LinearState) -> Dtype:
        """Of the rows in the rounds from here on."""
        return "float64" if state.polishing else self.needs.dtype

    # --- the loop ------------------------------------------------------------------------------------------------

    def start(self, schema: Schema) -> LinearState:
        """All parameters zero. Raises InvalidInput if the classes of the data do not suit the task or the solver."""
        allowed = {"regression": (0, 0), "binary": (2, 2), "multiclass": (2, inf)}[self.task]
        if not allowed[0] <= schema.n_classes <= allowed[1]:
            raise InvalidInput(
                schema.target, f"has {schema.n_classes} classes, which {self.name} can't learn"
            )
        problem = self._problem(schema)
        solver = problem.choice.solver
        optimizer = problem.optimizer(solver, self.needs.dtype)
        return LinearState(schema, solver, optimizer.init(np.zeros(problem.layout.size)))

    def broadcast(self, state: LinearState) -> Tensors:
        """The point; round, seed, epoch_steps () int64; and what else is wanted, see ``linear_partials``."""
        schema, problem, yes = state.schema, self._problem(state.schema), np.asarray(1, dtype=np.int64)
        message = {
            **message_of(problem.layout.point(state.optimizer.point)),
            "round": np.asarray(state.round, dtype=np.int64),
            "seed": np.asarray(schema.preparation.split.seed, dtype=np.int64),
            "epoch_steps": np.asarray(self._steps_per_epoch(schema), dtype=np.int64),
        }
        if self._walks and isinstance(state.optimizer, FirstOrderState):
            weight = np.asarray(schema.train_weight)
            return {**message, **moments_of(state.optimizer), "train_weight": weight}
        if isinstance(state.optimizer, GramState):
            return message if state.optimizer.solved else {**message, "gram": yes}
        if state.round == 0 and problem.looks_first:
            message["look"] = yes
        return {**message, **problem.wanted(self._optimizer(state), state.optimizer)}

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        """Sums over the shard's rows, all float64; see ``linear_partials``."""
        validation = validation_of(self.objective, shard, message)
        if not self._walks:
            return {**partial_of(self.objective, shard, message), **validation}
        layout = layout_of(self.objective, self.settings, message["coefficients"])
        problem = Problem.of(self.objective, self.settings, layout, float(message["train_weight"]))
        optimizer = problem.optimizer(self.settings.stepper, self.needs.dtype)
        walked = walk_of(self.objective, self.settings, optimizer, problem.penalty, shard, message)
        return {**walked, **validation}

    merge = staticmethod(sum_tensors)

    def update(self, state: LinearState, total: Tensors) -> LinearState:
        """One evaluation goes into the optimizer. Raises JobFailed if it is not finite: the training diverged."""
        weight = float(total["weight"])
        if weight <= 0:  # a batch may hold rows without weight alone; the whole data does not
            after = replace(state, round=state.round + 1)
            return self._epoch_seen(self._validated(after, state.optimizer.point, total), 0.0, 0.0)
        try:
            loss, stepped = self._stepped(state, total)
        except NotFinite:
            raise self._diverged(state) from None
        first = state.first_gradient_norm
        if state.round == 0 and "target_sums" in total:
            start = self._problem(state.schema).start_from(total["target_sums"], weight)
            stepped = self._optimizer(state).init(start)
        elif not isfinite(first):
            first = stepped.gradient_norm
        after = replace(state, optimizer=stepped, round=state.round + 1, loss=loss, first_gradient_norm=first)
        after = self._validated(after, state.optimizer.point, total)
        return self._polished(self._epoch_seen(after, loss, weight))

    @property
    def takes_part_sums(self) -> bool:
        """Steps along the gradient do; a line search compares losses, which must be of the same rows."""
        return bool(self.settings.stepper) and not self._walks

    @property
    def stale_sums_harm(self) -> str:
        """Velocity adds up gradients that are old already: measured, it diverges where plain steps do not."""
        s = self.settings
        if s.stepper != "momentum" or not s.momentum:
            return ""
        return (
            f"momentum={s.momentum:g} adds up gradients that are old already, and diverges; "
            "set momentum=0, or solver=gradient_descent or adam"
        )

    def damped(self, partial: Tensors, factor: float) -> Tensors:
        """The gradient shrinks, what was seen (loss, weight, rows) does not: so the step is the shorter one."""
        names = ("gradient", "intercept_gradient", "scale_gradient")
        return {**partial, **{name: partial[name] * factor for name in names}}

    def save(self, state: LinearState) -> Saved:
        """All but the schema; the optimizer's state is a part of it."""
        return save_value(state, "schema")

    def restore(self, schema: Schema, saved: Saved) -> LinearState:
        """The state that was saved."""
        problem = self._problem(schema)
        solver = str(saved.values.get("solver", problem.choice.solver))
        optimizer = problem.optimizer(solver, self.needs.dtype).restore(saved.under("optimizer"))
        return restore_value(LinearState, saved, schema=schema, optimizer=optimizer)

    def done(self, state: LinearState) -> str | None:
        """Solved, converged, stalled, out of patience, or out of rounds."""
        s, stepped = self.settings, state.optimizer
        if state.round == 0:
            return None
        if isinstance(stepped, GramState) and self._is_seen(state, stepped):
            if not stepped.exact:
                return f"unsolved: the columns are too much alike for a minimum to rounding{self._by(state)}"
            return f"solved{self._by(state)}"
        whole = isfinite(stepped.gradient_norm) and not (s.stepper and s.batch_size)  # one batch says little
        if (
            whole
            and not isinstance(stepped, GramState)
            and stepped.gradient_norm <= s.tolerance * state.first_gradient_norm
        ):
            what = f"the gradient is at most {s.tolerance:g} of what it was at first"
            return f"converged: {what}{self._by(state)}"
        if stepped.stalled is not None:
            return f"converged: {stepped.stalled}{self._by(state)}"
        if s.patience and state.rounds_without_better >= s.patience:
            return f"no better validation loss in {s.patience} rounds"
        if s.epoch_patience and state.epochs.without_better >= s.epoch_patience:
            return self._out_of_patience(state)
        if s.max_epochs and state.round >= s.max_epochs * self._rounds_per_epoch(state.schema):
            return f"max_epochs = {s.max_epochs} reached"
        if state.round >= s.max_rounds:
            return f"max_rounds = {s.max_rounds} reached"
        return None

    def finish(self, state: LinearState) -> Model:
        """The model on raw columns: x w' + b' = ((x - center) / scale) w + b."""
        schema, preparation = state.schema, state.schema.preparation
        problem, flat = self._problem(schema), self._solution(state)
        at = problem.layout.point(flat)
        coefficients, intercept = at.coefficients, at.intercept
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
                "solver": state.solver,
                "solver_because": problem.choice.why,
                "polished": state.polishing,
                **({"scale": problem.scale(flat)} if self.objective.scaled is not None else {}),
            },
        )

    def progress(self, state: LinearState) -> Progress:
        """Loss of the last round, penalty included, and the gradient's largest entry."""
        seen = state.round > 0 and isfinite(state.optimizer.gradient_norm)
        return Progress(
            iteration=state.round,
            max_iterations=self._most_rounds(state.schema),
            loss=state.loss,
            gradient_norm=state.optimizer.gradient_norm if seen else None,
            validation_loss=state.validation_loss,
            learning_rate=state.optimizer.learning_rate,
        )

    # --- held-out rows -------------------------------------------------------------------------------------------

    def solution(self, state: LinearState) -> Tensors:
        """coefficients and intercept of the best answer so far, on the columns that workers hold."""
        at = self._layout(state.schema).point(self._solution(state))
        return {"coefficients": at.coefficients, "intercept": np.asarray(at.intercept)}

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        """Metric sums of the solution; see ``gradloom.scores``."""
        z = rows.X @ solution["coefficients"] + solution["intercept"]
        if self.task != "regression":
            return classification_sums(rows.y, probabilities(z), rows.weight)
        if self.objective.name == "poisson":
            return regression_sums(
                rows.y, np.exp(z), rows.weight, center=float(np.exp(solution["intercept"]))
            )
        return regression_sums(rows.y, z, rows.weight, center=float(solution["intercept"]))

    def scores(self, total: Tensors) -> dict[str, float]:
        """accuracy, log_loss and roc_auc, or r2, rmse and mae; a support vector machine knows no probabilities."""
        if self.task == "regression":
            return regression_scores(total)
        scores = classification_scores(total)
        if self.one_versus_rest:
            scores.pop("log_loss", None)
        return scores

    # --- parts ---------------------------------------------------------------------------------------------------

    @property
    def _walks(self) -> bool:
        """Whether shards take steps by themselves."""
        return self.settings.local_steps > 1

    @property
    def _penalizes_intercept(self) -> bool:
        return isinstance(self.settings, ClassifierSettings) and self.settings.penalize_intercept

    def _layout(self, schema: Schema) -> Layout:
        several = self.task == "multiclass" and not (self.one_versus_rest and schema.n_classes == 2)
        outputs = schema.n_classes if several else 0
        scaled = self.objective.scaled is not None
        return Layout(schema.n_features, outputs, self.settings.fit_intercept, scaled)

    def _problem(self, schema: Schema) -> Problem:
        return Problem.of(self.objective, self.settings, self._layout(schema), schema.train_weight)

    def _optimizer(self, state: LinearState) -> AnyOptimizer:
        return self._problem(state.schema).optimizer(state.solver, self.dtype_of(state))

    def _solution(self, state: LinearState) -> Vector:
        return state.optimizer.solution if state.best_parameters is None else state.best_parameters

    def _by(self, state: LinearState) -> str:
        """Which solver it was, where nobody had asked for it."""
        if self.settings.solver != "auto":
            return ""
        return f" (solver {state.solver}: {self._problem(state.schema).choice.why})"

    def _is_seen(self, state: LinearState, solved: GramState) -> bool:
        """Whether there is a solution, and rows to validate on were looked at with it."""
        return solved.solved and (state.round > 1 or not state.schema.validation_rows)

    def _stepped(self, state: LinearState, total: Tensors) -> tuple[float, OptimizerState]:
        """The loss of the round and the solver's next state. Raises NotFinite."""
        problem, before = self._problem(state.schema), state.optimizer
        loss = problem.loss(total, before.point)
        if self._walks and isinstance(before, FirstOrderState):
            return loss, problem.averaged(state.solver, before, total, loss)
        after = problem.stepped(self._optimizer(state), before, total, loss)
        return (after.loss if isinstance(after, GramState) else loss), after

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

    def _steps_per_epoch(self, schema: Schema) -> int:
        return steps_per_epoch(schema.train_rows, self.settings.batch_size if self.settings.stepper else 0)

    def _rounds_per_epoch(self, schema: Schema) -> int:
        return max(1, self._steps_per_epoch(schema) // self.settings.local_steps)

    def _most_rounds(self, schema: Schema) -> int:
        s = self.settings
        return min(s.max_rounds, s.max_epochs * self._rounds_per_epoch(schema) or s.max_rounds)

    def _epoch_seen(self, state: LinearState, loss: float, weight: float) -> LinearState:
        s = self.settings
        if not s.epoch_patience:
            return state
        epochs = state.epochs.seen(loss, weight) if weight > 0 else state.epochs
        if state.round % self._rounds_per_epoch(state.schema) == 0:
            epochs = epochs.ended(
                state.validation_loss if state.schema.validation_rows else None, s.epoch_tolerance
            )
        return replace(state, epochs=epochs)

    def _out_of_patience(self, state: LinearState) -> str:
        s, epochs = self.settings, state.epochs
        if epochs.rose:
            lowest = min(epochs.first, epochs.best)
            return (
                f"diverged: the loss of an epoch rose from {lowest:.3g} to {epochs.last:.3g}; a learning_rate "
                f"smaller than {state.optimizer.learning_rate:g} is needed"
            )
        kind = "validation" if state.schema.validation_rows else "train"
        return f"no better {kind} loss in {s.epoch_patience} epochs"

    def _polished(self, state: LinearState) -> LinearState:
        """Go on with float64 rows once float32 has led as far as it can, if the tolerance asks for more."""
        s, reached = self.settings, state.optimizer
        wanted = (
            s.tolerance < FLOAT32_TOLERANCE and state.solver in POLISHED and not (s.batch_size or self._walks)
        )
        if not wanted or self.dtype_of(state) == "float64":
            return state
        near = reached.gradient_norm <= POLISHING_FROM * state.first_gradient_norm < inf
        if not near and reached.stalled is None:
            return state
        state = replace(state, polishing=True)
        if isinstance(reached, FirstOrderState):
            return replace(state, optimizer=replace(reached, gradient_norm=inf))
        fresh = self._optimizer(state).init(reached.solution)
        if isinstance(reached, LbfgsState | LbfgsbState):
            fresh = replace(fresh, pairs=reached.pairs)
        return replace(state, optimizer=fresh)
