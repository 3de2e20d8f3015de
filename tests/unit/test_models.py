"""Models: predicting, scoring, files that come back to the bit, and files that are refused."""

import json
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from sklearn.linear_model import LogisticRegression, Ridge

from builders.models import linear_model
from gradloom.errors import DataError, InvalidInput, ModelFileError, NotFound
from gradloom.models import Linear, load_model, model_from_bytes

FEATURES = ("age", "height", "weight")
RNG = np.random.default_rng(11)
X = RNG.standard_normal((50, 3))


def regression() -> Linear:
    return linear_model(
        "linear", FEATURES, "price", None, np.array([1.0, -2.0, 0.5]), np.array(3.0),
        {"l2": 1e-4, "fit_intercept": True}, {"train_weight": 50.0, "rounds": 7, "stopped": "converged"},
    )  # fmt: skip


def binary(classes: tuple[str, ...] | tuple[float, ...] = ("no", "yes")) -> Linear:
    return linear_model(
        "logistic", FEATURES, "buys", classes, np.array([1.0, -2.0, 0.5]), np.array(0.25), {"l2": 0.0}
    )


def multinomial(n_classes: int = 4) -> Linear:
    rng = np.random.default_rng(n_classes)
    classes = tuple(float(k) for k in range(n_classes))
    return linear_model(
        "multinomial", FEATURES, "kind", classes,
        rng.standard_normal((3, n_classes)), rng.standard_normal(n_classes),
    )  # fmt: skip


MODELS = {"regression": regression(), "binary": binary(), "multinomial": multinomial()}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def test_a_regression_predicts_values() -> None:
    np.testing.assert_allclose(regression().predict(X), X @ [1.0, -2.0, 0.5] + 3.0, rtol=1e-14)
    with pytest.raises(InvalidInput, match="a regression on 'price' has no classes; use predict"):
        regression().predict_proba(X)


def test_a_binary_model_predicts_the_classes_as_they_are_written() -> None:
    z = binary().decision_function(X)
    probability = binary().predict_proba(X)
    np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-z)), rtol=1e-12)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-15)
    assert binary().predict(X).tolist() == ["yes" if v > 0 else "no" for v in z]
    assert binary((0.0, 1.0)).predict(X).dtype == np.int64
    assert set(binary((0.5, 1.5)).predict(X)) == {0.5, 1.5}


def test_a_multinomial_model_predicts_by_softmax() -> None:
    z = multinomial().decision_function(X)
    assert z.shape == (50, 4)
    np.testing.assert_allclose(
        multinomial().predict_proba(X), np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), rtol=1e-12
    )
    np.testing.assert_array_equal(multinomial().predict(X), z.argmax(axis=1))


@each_model
def test_what_numpy_reads_can_be_predicted(model: Linear) -> None:
    expected = model.decision_function(X)
    np.testing.assert_array_equal(model.decision_function(X.tolist()), expected)
    np.testing.assert_allclose(model.decision_function(X.astype(np.float32)), expected, atol=1e-5)
    np.testing.assert_array_equal(model.decision_function(np.asfortranarray(X)), expected)
    assert model.predict(np.zeros((2, 3), dtype=int)).shape == (2,)
    assert model.predict(np.zeros((0, 3))).shape == (0,)


@each_model
def test_logits_far_out_give_probabilities_without_warnings(model: Linear) -> None:
    if model.classes is not None:
        p = model.predict_proba(np.array([[1e6, 0, 0], [-1e6, 0, 0]]))
        assert np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=1), 1.0)


@each_model
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (np.zeros((4, 2)), r"X: has the shape \(4, 2\); needed are rows of 3 columns: age, height, weight"),
        (np.zeros(3), r"X: has the shape \(3,\); needed are rows of 3 columns"),
        ([["a", "b", "c"]], "X: is not a table of numbers"),
        (
            [[0, 0, 0], [0, float("nan"), 0]],
            "X: row 1 holds a value in column 'height' that is not finite; 1 row",
        ),
        ([[0, 0, float("inf")]], "X: row 0 holds a value in column 'weight' that is not finite"),
    ],
    ids=["columns", "one row", "text", "missing", "infinite"],
)
def test_what_can_not_be_predicted(model: Linear, given: object, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        model.predict(given)


def test_scores_take_targets_as_they_are_in_the_data() -> None:
    assert binary().scores(X, binary().predict(X))["accuracy"] == 1.0
    assert multinomial().scores(X, multinomial().predict(X), np.ones(50))["accuracy"] == 1.0
    assert regression().scores(X, regression().predict(X)) == {"r2": 1.0, "rmse": 0.0, "mae": 0.0}
    with pytest.raises(DataError, match="buys: label 'maybe' is not one of the 2 classes"):
        binary().scores(X, ["maybe"] * 50)
    with pytest.raises(InvalidInput, match="y: has 3 values, but X has 50 rows"):
        regression().scores(X, [1, 2, 3])
    with pytest.raises(InvalidInput, match="y: is not a column of numbers"):
        regression().scores(X, ["cheap"] * 50)
    with pytest.raises(InvalidInput, match="weight: has 1 values, but X has 50 rows"):
        binary().scores(X, binary().predict(X), [1.0])


@each_model
def test_a_file_comes_back_to_the_bit(model: Linear, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    back = load_model(path)
    assert back.parameters_sha256 == model.parameters_sha256
    assert back.to_bytes() == model.to_bytes() == path.read_bytes()
    for name in ("algorithm", "version", "features", "target", "classes", "settings", "metadata"):
        assert getattr(back, name) == getattr(model, name)
    np.testing.assert_array_equal(back.predict(X), model.predict(X))


def test_saving_replaces_the_file_in_one_step_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    binary().save(path)
    regression().save(path)
    assert load_model(path).algorithm == "linear"
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    with pytest.raises(FileNotFoundError):
        regression().save(tmp_path / "missing" / "model.safetensors")


def test_fingerprints_differ_in_the_last_bit() -> None:
    nudged = np.array([np.nextafter(1.0, 2.0), -2.0, 0.5])
    other = linear_model("linear", FEATURES, "price", None, nudged, np.array(3.0))
    assert other.parameters_sha256 != regression().parameters_sha256


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no model file"):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(ModelFileError, match="can't be read"):
        load_model(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 8, 100, -1])
def test_a_file_that_was_cut_short(kept: int) -> None:
    with pytest.raises(ModelFileError, match="cut short"):
        model_from_bytes(binary().to_bytes()[:kept])


def header_of(changes: dict[str, object]) -> bytes:
    """A model file whose header differs in these entries."""
    whole = binary().to_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(json.loads(whole[8 : 8 + length])["__metadata__"]["gradloom"])
    arrays = {"coefficients": binary().coefficients, "intercept": binary().intercept}
    kept = {k: v for k, v in {**header, **changes}.items() if v is not ...}
    return save(arrays, {"gradloom": json.dumps(kept)})


def with_type(name: str) -> bytes:
    """A model file with an array of a type that numpy has not."""
    text = json.dumps(
        {
            "__metadata__": {"gradloom": json.dumps({"format_version": 1, "kind": "linear"})},
            "x": {"dtype": name, "shape": [1], "data_offsets": [0, 1]},
        }
    ).encode()
    return struct.pack("<Q", len(text)) + text + b"\0"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"PK\x03\x04 this is a zip, not a model file", "cut short, or is no safetensors file"),
        (struct.pack("<Q", 4) + b"nope", "not a gradloom model"),
        (save({"w": np.zeros(3)}), "not a gradloom model"),
        (save({"w": np.zeros(3)}, {"gradloom": "[]"}), "its header is not an object"),
        (header_of({"format_version": 2}), "format version 2, this release reads up to 1; a newer gradloom"),
        (header_of({"kind": "forest"}), "of kind 'forest'; this release reads: .*linear"),
        (header_of({"features": ...}), "header of the model file is not complete: KeyError"),
        (header_of({"features": ["age"]}), r"coefficients of shape \(3,\), not \(1,\)"),
        (save({"w": np.zeros(3)}, {"gradloom": "[" * 100_000}), "not a gradloom model"),
        (header_of({"version": float("inf")}), "header of the model file is not complete: OverflowError"),
        (header_of({"settings": 5}), "header of the model file is not complete: TypeError"),
        (with_type("F8_E4M3"), "cut short or damaged"),
    ],
    ids=[
        *("zip", "no json", "foreign", "no object", "too new", "other kind", "incomplete", "wrong shape"),
        *("deep", "infinite version", "settings", "type"),
    ],
)
def test_a_file_that_is_no_model_of_ours(data: bytes, sentence: str) -> None:
    with pytest.raises(ModelFileError, match=sentence):
        model_from_bytes(data)


@pytest.mark.parametrize(
    ("model", "twin"),
    [
        (regression(), Ridge),
        (binary(), LogisticRegression),
        (binary((3.0, 7.0)), LogisticRegression),
        (multinomial(), LogisticRegression),
        (multinomial(2), LogisticRegression),
    ],
    ids=["regression", "binary text", "binary numbers", "multinomial", "multinomial of two"],
)
def test_the_scikit_learn_twin_predicts_the_same(model: Linear, twin: Any) -> None:
    fitted = model.to_sklearn()
    assert type(fitted) is twin
    assert fitted.n_features_in_ == 3
    assert fitted.feature_names_in_.tolist() == list(FEATURES)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        predicted = fitted.predict(X)
        if model.classes is None:
            np.testing.assert_allclose(predicted, model.predict(X), rtol=1e-12)
            assert fitted.alpha == pytest.approx(50.0 * 1e-4)
            return
        np.testing.assert_array_equal(predicted, model.predict(X))
        np.testing.assert_allclose(fitted.predict_proba(X), model.predict_proba(X), rtol=1e-9)
    assert fitted.classes_.tolist() == list(model.classes)


def test_the_twin_needs_scikit_learn_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(InvalidInput, match=r"needs scikit-learn, .* pip install gradloom\[sklearn\]"):
        binary().to_sklearn()
