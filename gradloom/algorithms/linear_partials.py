"""What a worker computes for a linear model: sums over the rows of one shard, as the round's message asks.

The message holds the point; what else it holds says what is wanted: ``offsets`` losses along a line, ``hessian`` second
derivatives, ``gram`` all products of columns, ``look`` the first moments of the target. Nothing here loops over rows.
"""

from sys import float_info

import numpy as np

from gradloom.algorithms.epochs import batch_at
from gradloom.algorithms.linear_layout import Layout, Penalty
from gradloom.algorithms.linear_settings import LinearSettings
from gradloom.algorithms.local_steps import Batch, walk
from gradloom.data.shard import Rows, Shard
from gradloom.errors import DataError
from gradloom.objectives import Line, Objective, Point, gram_sums, rich_sums
from gradloom.optimizers import AnyOptimizer
from gradloom.optimizers.optimizer import Vector
from gradloom.tensors import Tensors

HUGE = 1e300
"""Stands for a trial step's loss that is no finite number: it is sent, and never chosen."""


def message_of(point: Point, prefix: str = "") -> Tensors:
    """coefficients (d,) or (d, K), intercept () or (K,), log_scale (), all float64."""
    return {
        f"{prefix}coefficients": point.coefficients,
        f"{prefix}intercept": np.asarray(point.intercept),
        f"{prefix}log_scale": np.asarray(point.log_scale),
    }


def point_of(message: Tensors, prefix: str = "") -> Point:
    """The point in a message."""
    return Point(
        message[f"{prefix}coefficients"], message[f"{prefix}intercept"], float(message[f"{prefix}log_scale"])
    )


def partial_of(objective: Objective, shard: Shard, message: Tensors) -> Tensors:
    """Sums over the train rows of the round, or its batch of them; all float64.

    loss, weight, rows (); gradient (d,) or (d, K), intercept_gradient () or (K,), scale_gradient (); and what else
    was asked for: hessian (B, D, D); trial_losses, trial_slopes (S,); target_sums (2,); or, in place of the gradient,
    gram (d + 2, d + 2).
    """
    at = point_of(message)
    rows = batch_of(shard, message, int(message["round"]))
    check_target(objective, rows)
    if "gram" in message:
        return _gram(rows)
    if "offsets" not in message and "hessian" not in message:
        sums = objective.at(at.log_scale).sums(rows.X, rows.y, rows.weight, at.coefficients, at.intercept)
        found: Tensors = {}
    else:
        line = Line(point_of(message, "direction_"), message["offsets"]) if "offsets" in message else None
        rich = rich_sums(objective, rows.X, rows.y, rows.weight, at, hessian="hessian" in message, line=line)
        sums = rich.sums
        found = {"hessian": rich.hessian} if "hessian" in message else {}
        if line is not None:
            found = {**found, "trial_losses": _sendable(rich.losses), "trial_slopes": _sendable(rich.slopes)}
    if "look" in message:
        found = {**found, "target_sums": _target_sums(rows)}
    return {
        "loss": np.asarray(sums.loss),
        "weight": np.asarray(sums.weight),
        "rows": np.asarray(float(len(rows))),
        "gradient": sums.coefficients,
        "intercept_gradient": sums.intercept,
        "scale_gradient": np.asarray(sums.scale),
        **found,
    }


def validation_of(objective: Objective, shard: Shard, message: Tensors) -> Tensors:
    """validation_loss, validation_weight () float64: sums over the validation rows."""
    at, held = point_of(message), shard.validation
    loss, weight = objective.at(at.log_scale).loss(held.X, held.y, held.weight, at.coefficients, at.intercept)
    return {"validation_loss": np.asarray(loss), "validation_weight": np.asarray(weight)}


def walk_of(
    objective: Objective,
    settings: LinearSettings,
    optimizer: AnyOptimizer,
    penalty: Penalty,
    shard: Shard,
    message: Tensors,
) -> Tensors:
    """``local_steps`` steps on batches of one shard; see ``gradloom.algorithms.local_steps``."""
    at, steps = point_of(message), settings.local_steps
    layout = layout_of(objective, settings, at.coefficients)

    def evaluate(i: int, flat: Vector) -> Batch:
        rows = batch_of(shard, message, int(message["round"]) * steps + i)
        check_target(objective, rows)
        here = layout.point(flat)
        sums = objective.at(here.log_scale).sums(
            rows.X, rows.y, rows.weight, here.coefficients, here.intercept
        )
        weight = max(float(sums.weight), float_info.min)
        gradient = layout.flat(sums.coefficients, sums.intercept, sums.scale) / weight + penalty.l2 * flat
        return Batch(float(sums.loss), float(sums.weight), len(rows), gradient)

    return walk(optimizer, layout.flat(at.coefficients, at.intercept, at.log_scale), message, steps, evaluate)


def layout_of(objective: Objective, settings: LinearSettings, coefficients: Vector) -> Layout:
    """The layout of parameters whose coefficients are these."""
    outputs = coefficients.shape[1] if coefficients.ndim == 2 else 0
    return Layout(coefficients.shape[0], outputs, settings.fit_intercept, objective.scaled is not None)


def batch_of(shard: Shard, message: Tensors, step: int) -> Rows:
    """The train rows of one step."""
    return batch_at(shard.train, shard.index, int(message["seed"]), 0, step, int(message["epoch_steps"]))


def check_target(objective: Objective, rows: Rows) -> None:
    """Refuse a target that the loss is not defined for. Raises DataError naming the row."""
    if objective.name != "poisson" or not len(rows) or rows.y.min() >= 0:
        return
    worst = int(np.argmin(rows.y))
    raise DataError(
        "target",
        f"row {rows.positions[worst]} (counted from 0) is {rows.y[worst]:g}; counts are learnt, which are 0 or more",
    )


def _gram(rows: Rows) -> Tensors:
    gram = gram_sums(rows.X, rows.y, rows.weight)
    return {
        "loss": np.asarray(0.5 * gram[-2, -2]),
        "weight": np.asarray(gram[-1, -1]),
        "rows": np.asarray(float(len(rows))),
        "gram": gram,
    }


def _target_sums(rows: Rows) -> Vector:
    """sum s y, sum s y^2."""
    s = np.ones(len(rows)) if rows.weight is None else rows.weight
    return np.array([np.dot(s, rows.y), np.dot(s, np.square(rows.y))])


def _sendable(values: Vector) -> Vector:
    return np.nan_to_num(values, nan=HUGE, posinf=HUGE, neginf=-HUGE)
