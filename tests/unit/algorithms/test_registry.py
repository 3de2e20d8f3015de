"""Algorithms by name, and every refusal of a setting as the sentence that people read."""

import json

import numpy as np
import pytest

from gradloom.algorithms import build, describe, names, register
from gradloom.algorithms.algorithm import Needs
from gradloom.algorithms.linear_settings import LinearSettings
from gradloom.errors import Conflict, InvalidInput, JobFailed
from tests.unit.algorithms.training import Data, train_state


def test_the_names() -> None:
    assert set(names()) >= {"linear", "logistic", "multinomial"}


def test_settings_come_as_text_or_as_python_values() -> None:
    text = {
        "solver": "momentum",
        "learning_rate": "0.1",
        "nesterov": "true",
        "l2": "1e-3",
        "max_rounds": "7",
    }
    values = {"solver": "momentum", "learning_rate": 0.1, "nesterov": True, "l2": 1e-3, "max_rounds": 7}
    assert build("logistic", text) == build("logistic", values)
    assert build("logistic", {"learning_rate": "none", "class_weight": "none"}) == build("logistic")


def test_needs_pass_on_what_the_rows_must_be() -> None:
    settings = {"dtype": "float64", "validation_fraction": "0.25", "class_weight": "a:1,b:2.5"}
    travel = {"gradients": ("gradient",), "parameters": ("coefficients",)}
    assert build("logistic", settings).needs == Needs("binary", "float64", True, 0.25, "a:1,b:2.5", **travel)
    centred = Needs("regression", "float32", False, center=True, gradients=(), parameters=("coefficients",))
    assert build("linear", {"standardize": "false"}).needs == centred


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"l2": "-1"}, "l2: '-1' is not allowed; it should be greater than or equal to 0"),
        ({"l2": "lots"}, "l2: 'lots' is not allowed; it should be a valid number"),
        ({"l2": "nan"}, "l2: 'nan' is not allowed; it should be a finite number"),
        ({"max_rounds": "0"}, "max_rounds: '0' is not allowed; it should be greater than or equal to 1"),
        ({"max_rounds": "2.5"}, "max_rounds: '2.5' is not allowed; it should be a valid integer"),
        ({"dtype": "float16"}, "dtype: 'float16' is not allowed; it should be 'float32' or 'float64'"),
        ({"standardize": "maybe"}, "standardize: 'maybe' is not allowed; it should be a valid boolean"),
        ({"solver": "sgd"}, "solver: 'sgd' is not allowed; it should be 'auto', 'gram', "),
        (
            {"validation_fraction": 0.95},
            "fraction: 0.95 is not allowed; it should be less than or equal to 0.9",
        ),
        ({"learning_rate": "0", "solver": "adam"}, "'0' is not allowed; it should be greater than 0"),
        (
            {"learning_rate": "0.1", "solver": "lbfgs"},
            "learning_rate: means nothing to solver 'lbfgs', only to: gradient_descent, ",
        ),
        ({"batch_size": "32", "solver": "newton"}, "batch_size: means nothing to solver 'newton'"),
        (
            {"beta1": 0.5, "solver": "momentum"},
            "beta1: means nothing to solver 'momentum', only to: adam",
        ),
        (
            {"l1": 0.1, "solver": "lbfgs"},
            "l1: 0.1 can't be minimised by solver 'lbfgs'; lbfgsb can, and newton",
        ),
        (
            {"solver": "gram"},
            "solver: 'gram' is not allowed here: only least squares can be solved from one matrix",
        ),
        (
            {"power": 2.0, "solver": "adam"},
            "power: means nothing to schedule 'constant', only to: inverse_scaling",
        ),
        ({"schedule": "cosine"}, "schedule: means nothing to solver 'auto', only to: gradient_descent, "),
        ({"intercept_scaling": 2.0}, "intercept_scaling: means nothing without penalize_intercept=true"),
        ({"patience": 3}, "patience: 3 needs rows to validate on: set validation_fraction too"),
        ({"fit_intercept": False}, "fit_intercept: false needs standardize=false"),
        ({"class_weight": "spam"}, "'spam' is not allowed; it must be balanced, or label:weight"),
        ({"class_weight": "a:1,b:-2"}, "class_weight: 'b:-2' is not allowed"),
    ],
)
def test_values_that_are_refused_and_in_which_words(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        build("logistic", settings)


def test_a_long_value_that_is_refused_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidInput) as refused:
        build("kmeans", {"n_clusters": "7" * 100_000 + "x"})
    assert refused.value.field == "n_clusters"
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        (
            "linear_svm",
            {"loss": "hinge", "solver": "lbfgs"},
            "solver: 'lbfgs' needs a smooth loss, which the hinge",
        ),
        (
            "linear",
            {"solver": "gram", "patience": 2, "validation_fraction": 0.1},
            "patience: means nothing to solver",
        ),
        ("huber", {"epsilon": 0.9}, "epsilon: 0.9 is not allowed with a scale to learn"),
        ("huber", {"batch_size": 100}, "can't learn the scale of the errors: every row has a say"),
        ("huber", {"learn_scale": False, "solver": "newton"}, "errors beyond epsilon have no curvature"),
        ("poisson", {"solver": "gram"}, "only least squares can be solved from one matrix"),
    ],
)
def test_what_does_not_suit_a_loss_is_refused(name: str, settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        build(name, settings)


def test_names_that_are_not_known_come_with_the_nearest_that_is() -> None:
    known = f"allowed: {', '.join(names())}"
    with pytest.raises(
        InvalidInput, match=rf"algorithm: 'logistik' is not known; {known}. Did you mean 'logistic'\?"
    ):
        build("logistik")
    with pytest.raises(
        InvalidInput, match=r"setting: 'learning_rat' is not known; .*Did you mean 'learning_rate'\?"
    ):
        build("logistic", {"learning_rat": 1})
    with pytest.raises(InvalidInput, match="setting: 'class_weight' is not known"):
        build("linear", {"class_weight": "balanced"})


@pytest.mark.parametrize("name", names())
def test_descriptions_tell_every_setting_with_its_default(name: str) -> None:
    description = describe(name)
    properties = json.loads(description.settings_schema)["properties"]
    assert (description.name, description.version >= 1) == (name, True)
    assert all(one["description"] for one in properties.values())
    assert all("default" in one for one in properties.values())


def test_the_settings_in_a_model_build_the_algorithm_again() -> None:
    algorithm = build("logistic", {"solver": "adam", "learning_rate": "0.3"})
    assert build("logistic", algorithm.settings.model_dump()) == algorithm  # type: ignore[attr-defined]


def test_a_name_can_be_taken_only_once() -> None:
    with pytest.raises(Conflict, match="'linear' is registered already"):
        register("linear", version=1, summary="", settings=LinearSettings, make=lambda _: build("linear"))


def test_three_classes_are_too_many_for_logistic() -> None:
    X = np.arange(30.0).reshape(15, 2)
    with pytest.raises(InvalidInput, match="y: has 3 classes, which logistic can't learn"):
        train_state(build("logistic"), Data(X, np.arange(15) % 3))


def test_a_learning_rate_that_is_too_large_fails_with_a_smaller_one_as_advice() -> None:
    rng = np.random.default_rng(0)
    data = Data(rng.standard_normal((100, 3)), rng.standard_normal(100))
    settings = {"solver": "gradient_descent", "learning_rate": 1e6, "dtype": "float64"}
    with pytest.raises(JobFailed, match=r"diverged; a learning_rate smaller than 1e\+06 is needed"):
        train_state(build("linear", settings), data, n_shards=3)
