"""Optimizers over one flat float64 vector, each a frozen value with ``init`` and ``update``."""

from gradloom.optimizers.first_order import Adam, GradientDescent, Momentum
from gradloom.optimizers.lbfgs import Lbfgs
from gradloom.optimizers.optimizer import AnyOptimizer, Optimizer, OptimizerState

OPTIMIZERS: dict[str, type[GradientDescent | Momentum | Adam | Lbfgs]] = {
    "lbfgs": Lbfgs,
    "gradient_descent": GradientDescent,
    "momentum": Momentum,
    "adam": Adam,
}

__all__ = [
    "OPTIMIZERS", "Adam", "AnyOptimizer", "GradientDescent", "Lbfgs", "Momentum", "Optimizer", "OptimizerState",
]  # fmt: skip
