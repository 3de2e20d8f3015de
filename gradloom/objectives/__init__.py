"""Losses with their gradients, as sums over rows. Nothing here knows of shards, workers or penalties."""

from gradloom.objectives.logistic import LOGISTIC
from gradloom.objectives.multinomial import MULTINOMIAL
from gradloom.objectives.passes import Objective, Sums, rows_per_block
from gradloom.objectives.squared import SQUARED

OBJECTIVES = {objective.name: objective for objective in (SQUARED, LOGISTIC, MULTINOMIAL)}

__all__ = ["LOGISTIC", "MULTINOMIAL", "OBJECTIVES", "SQUARED", "Objective", "Sums", "rows_per_block"]
