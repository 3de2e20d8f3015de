"""What perceptrons refuse: settings, data, numbers that are not finite, arrays that do not fit."""

from typing import Any

import numpy as np
import pytest

from gradloom.algorithms import build
from gradloom.errors import InvalidInput, JobFailed
from gradloom.models import Network
from tests.unit.algorithms.case import Case, World
from tests.unit.algorithms.cases.mlp import CANCER, DIABETES, EXACT, IRIS
from tests.unit.algorithms.training import Data, schema_of


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"hidden_layer_sizes": "128,,64"},
            "hidden_layer_sizes: .*'128,,64' is not allowed; it must be units",
        ),
        ({"hidden_layer_sizes": "0"}, "1 to 65536"),
        ({"hidden_layer_sizes": "a"}, "such as 128,64"),
        ({"momentum": "0.5"}, "momentum.*means nothing to solver 'adam', only to: sgd"),
        ({"solver": "sgd", "beta1": 0.5}, "beta1.*only to: adam, adamw"),
        ({"weight_decay": 0.5}, "weight_decay.*only to: adamw"),
        ({"final_rate": 0.5}, "final_rate.*means nothing to schedule 'constant', only to: cosine"),
        ({"dropout": 0.5, "hidden_layer_sizes": ""}, "dropout.*needs a hidden layer"),
        ({"dropout": 1}, "dropout.*less than or equal to 0.95"),
        ({"activation": "swish"}, "activation.*'relu'"),
        ({"solver": "lbfgs"}, "solver.*'adam'"),
        ({"class_weight": "a"}, "class_weight.*label:weight"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        build("mlp_classifier", settings)


def test_sizes_may_be_written_as_python_does() -> None:
    written = [
        build("mlp_classifier", {"hidden_layer_sizes": one}) for one in ("8,4", (8, 4), [8, 4], "8, 4,")
    ]
    assert {one.settings.hidden for one in written} == {(8, 4)}
    assert build("mlp_classifier", {"hidden_layer_sizes": 8}).settings.hidden == (8,)


def test_data_that_does_not_suit_is_refused() -> None:
    one_class = Data(np.ones((20, 2)), np.zeros(20))
    algorithm = build("mlp_classifier")
    with pytest.raises(InvalidInput, match="has 1 classes, which mlp_classifier can't learn"):
        algorithm.start(schema_of(one_class, algorithm.needs))
    large = build("mlp_classifier", {"hidden_layer_sizes": "65536,65536"})
    with pytest.raises(InvalidInput, match=r"hidden_layer_sizes.*4,295,.* parameters of 4 columns; at most"):
        large.start(schema_of(IRIS, large.needs))
    weightless = Data(np.ones((20, 2)), np.arange(20.0), np.zeros(20))
    with pytest.raises(InvalidInput, match="every train row weighs 0"):
        build("mlp_regressor").start(schema_of(weightless, build("mlp_regressor").needs))


def test_what_diverges_fails_and_says_what_to_do() -> None:
    world = World(Case("mlp_classifier", "", CANCER, {"batch_size": 32, "hidden_layer_sizes": "4"}))
    total = {**world.total(world.shards)}
    for bad in ("loss", "gradient"):
        broken = {**total, bad: np.full_like(total[bad], np.nan)}
        with pytest.raises(JobFailed, match=r"round 3 is not a finite number: .*smaller than 0.001"):
            world.algorithm.update(world.state, broken)


def test_rows_that_are_not_finite_are_refused_though_relu_would_swallow_them() -> None:
    world = World(Case("mlp_regressor", "", DIABETES, {**EXACT}))
    model, X = world.algorithm.finish(world.state), world.data.X[:3].copy()
    X[1, 4] = -np.inf
    with pytest.raises(InvalidInput, match="row 1 holds a value in column 'x4' that is not finite"):
        model.predict(X)


def test_a_network_whose_arrays_do_not_fit_is_refused() -> None:
    world = World(Case("mlp_classifier", "", IRIS, {**EXACT}))
    model = world.algorithm.finish(world.state)
    assert isinstance(model, Network)
    parts = {name: getattr(model, name) for name in ("algorithm", "version", "features", "target", "classes")}
    for wrong in (
        {"sizes": np.array([4, 6, 2])},
        {"sizes": np.array([4, 6, 5, 3])},
        {"parameters": model.parameters[:-1]},
        {"settings": {"activation": "swish"}},
    ):
        arrays = {"parameters": model.parameters, "sizes": model.sizes, "settings": model.settings, **wrong}
        with pytest.raises(ValueError, match=r"sizes|parameters|activation"):
            Network(**parts, **arrays).check_arrays()
