"""Parameters: those of scikit-learn with their defaults, and in words what may not be."""

import inspect
import subprocess
import sys
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.utils.fixes import parse_version

from gradloom.errors import InvalidInput, InvalidParameter
from gradloom.estimators.estimator import ClusterEstimator
from gradloom.estimators.parameters import (
    COLD,
    IN_THE_CLUSTER,
    QUIET,
    check_parameters,
    class_weights,
    either,
    number,
    one_of,
    only,
    random_state,
    truth,
    whole,
)

MODULES = (
    "cluster", "decomposition", "linear_model", "naive_bayes", "neighbors", "neural_network", "preprocessing", "svm",
)  # fmt: skip
ESTIMATORS: list[type[ClusterEstimator]] = [
    getattr(module, name)
    for module in (import_module(f"gradloom.{module}") for module in MODULES)
    for name in module.__all__
]
OURS_ALONE = {"cluster", "batch_size"}


def twin_of(estimator: type[ClusterEstimator]) -> Any:
    module, _, name = estimator._twin.rpartition(".")
    assert name == estimator.__name__
    return getattr(import_module(f"sklearn.{module}"), name)


@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.8"), reason="they are those of 1.8 and later"
)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_parameters_are_those_of_scikit_learn_in_the_same_order(estimator: type[ClusterEstimator]) -> None:
    ours = inspect.signature(estimator).parameters
    theirs = inspect.signature(twin_of(estimator)).parameters
    shared = [name for name in ours if name in theirs]
    assert set(ours) - set(theirs) <= OURS_ALONE
    assert shared == [name for name in theirs if name in ours]
    assert not [name for name in theirs if name not in ours and theirs[name].default != "deprecated"]
    for name in shared:
        assert (ours[name].default, ours[name].kind) == (theirs[name].default, theirs[name].kind), name
    assert ours["cluster"].default is None


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_every_parameter_has_a_rule_that_its_default_keeps(estimator: type[ClusterEstimator]) -> None:
    unfitted = estimator()
    assert set(estimator._rules) == set(unfitted.get_params()) - {"cluster"}
    check_parameters(unfitted.get_params(), estimator._rules)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_nothing_that_makes_no_sense_is_taken(estimator: type[ClusterEstimator]) -> None:
    lenient = {"init": "an array of any kind may hold centers, which is seen later"}
    for name, rule in estimator._rules.items():
        assert name in lenient or not rule.test(object()), name


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (only(False, "so it is"), [False, np.False_], [True, 0, None, "False"]),
        (only(1, "so it is"), [1, 1.0, np.int64(1)], [True, 2, "1"]),
        (only(np.inf, "none"), [float("inf")], [1.0, np.ones(2)]),
        (IN_THE_CLUSTER, [None], [1, -1]),
        (QUIET, [0, False], [1, True, "no"]),
        (COLD, [False], [True]),
        (one_of("a", None, 2), ["a", None, 2], ["b", 0, False]),
        (truth(), [True, np.False_], [1, None]),
        (number(least=0, below=1), [0, 0.5, np.float32(0.1)], [-1, 1, True, "0", float("nan")]),
        (number(above=0, most=2), [1e-9, 2], [0, 2.1, None]),
        (number(), [-5, 0.0], ["1", None]),
        (whole(least=1, most=9), [1, np.int32(9)], [0, 10, 1.0, True]),
        (either(whole(least=1), one_of("auto")), [3, "auto"], [0, "other"]),
        (class_weights(), [None, "balanced", {0: 1, "a": 0.5}], ["other", {0: -1}, {0: "x"}]),
        (random_state(), [None, 0, np.random.RandomState(0)], [-1, 0.5, "0", 2**32]),
    ],
    ids=lambda value: value.allowed if hasattr(value, "allowed") else "",
)
def test_rules(rule: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not rule.test(value)] == []
    assert [value for value in bad if rule.test(value)] == []


def test_a_refusal_names_the_parameter_its_value_and_what_is_allowed() -> None:
    rules = {"alpha": number(least=0), "solver": one_of("auto", "lbfgs", why="both find the minimum")}
    with pytest.raises(InvalidParameter) as refused:
        check_parameters({"alpha": -1.5, "solver": "auto"}, rules)
    assert refused.value.message == "alpha: -1.5 is not supported; it must be a number at least 0"
    assert isinstance(refused.value, ValueError)
    assert isinstance(refused.value, InvalidInput)
    told = r"solver: 'sag' is not supported; it must be one of: 'auto', 'lbfgs' \(both find the minimum\)"
    with pytest.raises(InvalidParameter, match=told):
        check_parameters({"alpha": 1, "solver": "sag"}, rules)


def test_without_scikit_learn_they_say_how_to_get_it() -> None:
    program = """
import sys
sys.modules["sklearn"] = None
import gradloom.client, gradloom.local, gradloom.models
for name in sys.argv[1:]:
    try:
        __import__(f"gradloom.{name}")
    except ImportError as error:
        assert "pip install 'gradloom[sklearn]'" in str(error), error
    else:
        raise AssertionError(f"{name} can be imported")
"""
    run = subprocess.run(
        [sys.executable, "-c", program, *MODULES], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
