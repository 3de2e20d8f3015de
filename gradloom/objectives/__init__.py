"""Losses with their derivatives, as sums over rows. Nothing here knows of shards, workers or penalties."""

from gradloom.objectives.gram import gram_sums
from gradloom.objectives.hinge import HINGE, SQUARED_HINGE
from gradloom.objectives.huber import huber
from gradloom.objectives.logistic import LOGISTIC
from gradloom.objectives.multinomial import MULTINOMIAL
from gradloom.objectives.passes import Objective, Sums, rows_per_block
from gradloom.objectives.poisson import POISSON
from gradloom.objectives.second_order import Line, Point, RichSums, rich_sums
from gradloom.objectives.squared import SQUARED

OBJECTIVES = {
    objective.name: objective for objective in (SQUARED, LOGISTIC, MULTINOMIAL, POISSON, HINGE, SQUARED_HINGE)
}
"""Those without a parameter of their own; ``huber(epsilon, ...)`` makes others."""

__all__ = [
    "HINGE", "LOGISTIC", "MULTINOMIAL", "OBJECTIVES", "POISSON", "SQUARED", "SQUARED_HINGE", "Line",
    "Objective", "Point", "RichSums", "Sums", "gram_sums", "huber", "rich_sums", "rows_per_block",
]  # fmt: skip
