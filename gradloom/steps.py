"""The steps of a job, each one or more rounds of the same map and merge: profile, train, assess, query."""

from collections.abc import Callable
from enum import Enum
from typing import Any

from gradloom.algorithms.algorithm import Algorithm
from gradloom.algorithms.serving import serving_part
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
    QUERY = "query"
    """What the shards know of a tile of queries: ``gradloom.algorithms.serving``."""


def merge_of(step: Step, algorithm: Algorithm[Any]) -> Merge:
    """How two partials of a step become one."""
    match step:
        case Step.PROFILE:
            return merge_profiles
        case Step.TRAIN:
            return algorithm.merge
        case Step.ASSESS:
            return sum_tensors
        case Step.QUERY:
            return serving_part(algorithm).join
