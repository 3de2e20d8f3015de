"""Local SGD: each shard takes H optimizer steps by itself between two averages. Pure.

    per shard k, from the common point x and moments m:   (x_k, m_k) = H steps of the optimizer on its own batches
    then                                                  x <- sum_k W_k x_k / sum_k W_k,   m likewise

W_k is the weight of the rows that shard k has stepped on, so unequal shards weigh right. One round of traffic for H
steps. Exact and reproducible like any round that counts every shard, but another method than H synchronous steps:
shards must be alike (shuffled rows), or the points drift apart. Source: Stich, "Local SGD converges fast and
communicates little", ICLR 2019; averaging the moments too: Lin et al., "Don't use large mini-batches, use local SGD",
ICLR 2020.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradloom.optimizers import AnyOptimizer
from gradloom.optimizers.first_order import FirstOrderState
from gradloom.optimizers.optimizer import Vector, largest
from gradloom.tensors import Tensors

MOMENTS = ("first_moment", "second_moment")


@dataclass(frozen=True, slots=True)
class Batch:
    """Sums over one batch of one shard."""

    loss: float
    weight: float
    rows: int
    mean_gradient: Vector
    """Of the weighted mean loss, penalty included; undefined where the weight is 0."""


def moments_of(state: FirstOrderState) -> Tensors:
    """What a shard needs besides the point: moments (n,) float64 if there are any, updates () int64."""
    moments = {name: getattr(state, name) for name in MOMENTS if getattr(state, name) is not None}
    return {**moments, "updates": np.asarray(state.updates, dtype=np.int64)}


def walk(
    optimizer: AnyOptimizer,
    point: Vector,
    message: Tensors,
    steps: int,
    evaluate: Callable[[int, Vector], Batch],
) -> Tensors:
    """``steps`` steps from ``point``; ``evaluate(i, x)`` is the i-th batch at x.

    Returns sums: loss, weight, rows () over all batches, and weight-times-point and -moments (n,), all float64.
    """
    state = FirstOrderState(
        point,
        int(message["updates"]),
        first_moment=message.get("first_moment"),
        second_moment=message.get("second_moment"),
    )
    loss = weight = 0.0
    rows = 0
    for i in range(steps):
        batch = evaluate(i, state.point)
        if batch.weight > 0:
            state = optimizer.update(state, batch.loss / batch.weight, batch.mean_gradient)
        loss, weight, rows = loss + batch.loss, weight + batch.weight, rows + batch.rows
    arrays = {name: getattr(state, name) for name in MOMENTS if name in message}
    return {
        "loss": np.asarray(loss),
        "weight": np.asarray(weight),
        "rows": np.asarray(float(rows)),
        "point": weight * state.point,
        **{name: weight * array for name, array in arrays.items()},
    }


def averaged(
    before: FirstOrderState, total: Tensors, loss: float, learning_rate: float, steps: int
) -> FirstOrderState:
    """The state after the shards' walks: weighted means of where they ended."""
    weight = float(total["weight"])
    point = total["point"] / weight
    return FirstOrderState(
        point=point,
        updates=before.updates + steps,
        loss=loss,
        gradient_norm=largest(before.point - point) / (learning_rate * steps),
        learning_rate=learning_rate,
        first_moment=total["first_moment"] / weight if "first_moment" in total else None,
        second_moment=total["second_moment"] / weight if "second_moment" in total else None,
    )
