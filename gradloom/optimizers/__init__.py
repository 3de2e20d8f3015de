"""Optimizers over one flat float64 vector, each a frozen value with ``init`` and ``update``."""

from gradloom.optimizers.barzilai_borwein import BarzilaiBorwein
from gradloom.optimizers.first_order import Adam, GradientDescent, Momentum
from gradloom.optimizers.gram import Gram, GramState
from gradloom.optimizers.lbfgs import Lbfgs
from gradloom.optimizers.lbfgsb import Lbfgsb
from gradloom.optimizers.newton import Newton
from gradloom.optimizers.optimizer import (
    AnyOptimizer,
    AnySearcher,
    Blocks,
    Findings,
    Optimizer,
    OptimizerState,
    Searcher,
    Wish,
)

__all__ = [
    "Adam",
    "AnyOptimizer",
    "AnySearcher",
    "BarzilaiBorwein",
    "Blocks",
    "Findings",
    "GradientDescent",
    "Gram",
    "GramState",
    "Lbfgs",
    "Lbfgsb",
    "Momentum",
    "Newton",
    "Optimizer",
    "OptimizerState",
    "Searcher",
    "Wish",
]  # fmt: skip
