"""The steps of a job, each one or more rounds of the same map and merge: profile, train, assess."""

from collections.abc import Callable
from enum import Enum
from typing import Any

from gradloom.algorithms.algorithm import Algorithm
from gradloom.data.profile import merge_profiles
from gradloom.tensors import Tensors, sum_tensors

Merge = Callable[[Tensors, Tensors], Tensors]


class Step(Enum):
    """What a round computes."""

    PROFILE = "profile"
    """Look at every raw row: counts, means, labels, missing cells."""
    TRAIN = "train"
    """The algorithm's ``map``."""
    ASSESS = "assess"
    """The algorithm's metric sums on the held-out rows."""


def merge_of(step: Step, algorithm: Algorithm[Any]) -> Merge:
    """How two partials of a step become one."""
    match step:
        case Step.PROFILE:
            return merge_profiles
        case Step.TRAIN:
            return algorithm.merge
        case Step.ASSESS:
            return sum_tensors
