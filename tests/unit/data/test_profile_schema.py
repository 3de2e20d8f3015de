"""The schema of a job, and every sentence that says why there can't be one."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from gradloom.algorithms.algorithm import Needs, Task
from gradloom.data.label_counts import MAX_LABELS
from gradloom.data.manifest import Columns
from gradloom.data.preparation import Split, prepare, row_parts
from gradloom.data.profile import profile_shard
from gradloom.data.profile_schema import schema_from_profile
from gradloom.data.shard import RawShard
from gradloom.errors import DataError, InvalidInput
from gradloom.schema import Schema

SPLIT = Split(seed=3, validation_fraction=0.2, test_fraction=0.1)


def schema_of(
    X: Any,
    y: Any,
    weight: Any = None,
    *,
    task: Task = "binary",
    split: Split | None = None,
    standardize: bool = False,
    class_weight: str = "",
    balance_rows: bool = False,
) -> Schema:
    """The schema of a data set whose columns are called x0, x1, ..., label and weight."""
    matrix = np.asarray(X, dtype=np.float64)
    raw = RawShard(
        0, 0, matrix, target_array(y), None if weight is None else np.asarray(weight, dtype=np.float64)
    )
    columns = Columns(
        tuple(f"x{j}" for j in range(matrix.shape[1])), "label", None if weight is None else "weight"
    )
    split = split or Split()
    needs = Needs(
        task, "float64", standardize, split.validation_fraction, class_weight, balance_rows=balance_rows
    )
    return schema_from_profile(profile_shard(raw, split), columns, needs, split)


def target_array(y: Any) -> NDArray[Any]:
    if not any(isinstance(label, str) for label in y):
        return np.asarray(y, dtype=np.float64)
    labels = np.empty(len(y), dtype=object)
    labels[:] = y
    return labels


def test_a_schema_knows_columns_classes_and_counts() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    schema = schema_of(X, y, split=SPLIT)
    parts = np.bincount(row_parts(SPLIT, 0, 569)).tolist()
    assert [schema.train_rows, schema.validation_rows, schema.test_rows] == parts
    assert schema.n_features == 30
    assert schema.features[:2] == ("x0", "x1")
    assert schema.target == "label"
    assert schema.classes == (0.0, 1.0)
    assert schema.train_weight == parts[0]
    assert schema.preparation.center == schema.preparation.scale == schema.preparation.class_weights == ()


def test_text_classes_are_sorted_text() -> None:
    assert schema_of(np.zeros((3, 1)), ["no", "yes", "no"]).classes == ("no", "yes")


def test_a_regression_has_no_classes() -> None:
    schema = schema_of(np.zeros((3, 1)), [1.5, 2.5, 3.5], [1, 2, 0.5], task="regression")
    assert schema.classes is None
    assert schema.n_classes == 0
    assert schema.train_weight == 3.5


def test_prepared_train_rows_are_those_of_a_standard_scaler() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X[:, 5] = 0.1  # constant: centred, never scaled
    schema = schema_of(X, y, split=SPLIT, standardize=True)
    shard = prepare(RawShard(0, 0, X, y.astype(np.float64), None), schema.preparation)
    parts = row_parts(SPLIT, 0, 569)
    scaler = StandardScaler().fit(X[parts == 0])
    assert schema.preparation.scale[5] == 1.0
    np.testing.assert_allclose(shard.train.X, scaler.transform(X[parts == 0]), atol=1e-12)
    np.testing.assert_allclose(shard.validation.X, scaler.transform(X[parts == 1]), atol=1e-12)


def test_balanced_class_weights_add_up_weights_or_count_rows() -> None:
    X, y, weight = np.zeros((4, 1)), [0, 0, 0, 1], [1.0, 1.0, 2.0, 8.0]
    by_weight, by_rows = (
        schema_of(X, y, weight, class_weight="balanced", balance_rows=rows).preparation.class_weights
        for rows in (False, True)
    )
    np.testing.assert_allclose(by_weight, [12 / 8, 12 / 16])
    np.testing.assert_allclose(by_rows, [4 / 6, 4 / 2])


def test_balanced_class_weights_are_those_of_scikit_learn() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    schema = schema_of(X, y, class_weight="balanced")
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=y)
    np.testing.assert_allclose(schema.preparation.class_weights, expected, rtol=1e-15)
    assert schema.train_weight == pytest.approx(569, rel=1e-14)


def test_balanced_class_weights_count_weights_not_rows() -> None:
    schema = schema_of(np.zeros((3, 1)), [0, 0, 1], [1, 1, 6], class_weight="balanced")
    assert schema.preparation.class_weights == (8 / (2 * 2), 8 / (2 * 6))


@pytest.mark.parametrize(
    ("labels", "spec", "weights"),
    [
        ([0, 1, 0], "1:2.5", (1.0, 2.5)),
        ([0, 1, 0], "1:2, 0:3", (3.0, 2.0)),
        (["no", "a:b", "no"], "a:b:4,no:0.5", (4.0, 0.5)),
    ],
)
def test_class_weights_may_be_said_by_label(labels: list[Any], spec: str, weights: tuple[float, ...]) -> None:
    assert schema_of(np.zeros((3, 1)), labels, class_weight=spec).preparation.class_weights == weights


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("maybe:2", r"class_weight: 'maybe' is not known; allowed: no, yes\."),
        ("yess:2", r"Did you mean 'yes'\?"),
        ("yes", "class_weight: 'yes' is neither 'balanced' nor label:weight"),
        ("yes:heavy", "'yes:heavy' must end in a finite number that is 0 or more"),
        ("yes:-1", "must end in a finite number that is 0 or more"),
        ("yes:inf", "must end in a finite number that is 0 or more"),
        ("yes:0,no:0", "class_weight: makes all train rows weigh 0"),
    ],
)
def test_class_weights_that_make_no_sense_are_refused(spec: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        schema_of(np.zeros((2, 1)), ["yes", "no"], class_weight=spec)


def test_a_class_of_no_train_row_can_not_be_balanced() -> None:
    parts = row_parts(SPLIT, 0, 100)
    labels = np.where(parts == 1, 9.0, np.arange(100) % 2)
    schema_of(np.zeros((100, 1)), labels, split=SPLIT, task="multiclass")
    with pytest.raises(InvalidInput, match="class_weight: 'balanced' can't weigh class '9'"):
        schema_of(np.zeros((100, 1)), labels, split=SPLIT, task="multiclass", class_weight="balanced")


def test_class_weights_need_classes() -> None:
    with pytest.raises(InvalidInput, match="class_weight: 'balanced' needs classes; a regression has none"):
        schema_of(np.zeros((2, 1)), [1.5, 2], task="regression", class_weight="balanced")


@pytest.mark.parametrize(
    ("X", "y", "weight", "problem"),
    [
        (
            [[1, 2], [1, np.nan], [1, np.nan]],
            [0, 1, 0],
            None,
            r"^column 'x1': row 1 has no value; 2 of 3 rows have none \(rows are counted from 0\)\. "
            r"Fill them in, drop those rows, or leave the column out with --features\.$",
        ),
        ([[1], [np.inf]], [0, 1], None, "^column 'x0': row 1 is infinite; 1 of 2 rows are infinite "),
        (
            [[1], [1]],
            [0, np.nan],
            None,
            r"^column 'label': row 1 has no value.*Fill them in, or drop those rows\.$",
        ),
        ([[1], [1]], ["a", None], None, "^column 'label': row 1 has no value"),
        ([[1], [1]], [0, -np.inf], None, "^column 'label': row 1 is infinite"),
        ([[1], [1]], [0, 1], [1, np.nan], "^column 'weight': row 1 has no value"),
        ([[1], [1]], [0, 1], [np.inf, 1], "^column 'weight': row 0 is infinite"),
        ([[1], [1]], [0, 1], [1, -2], "^column 'weight': row 1 is negative; .*A weight must be 0 or more"),
        ([[1], [1]], [0, 1], [0, 0], "^weight: all 2 train rows weigh 0; at least one must weigh more$"),
        (
            [[1], [1]],
            [1, 1],
            None,
            "^column 'label': all train rows are of class 1; a classification needs two",
        ),
        ([[1], [1]], ["u", "u"], None, "^column 'label': all train rows are of class 'u'"),
        (
            [[1]] * 6,
            [0, 1, 2, 3, 4, 5],
            None,
            r"^column 'label': has 6 classes \(0, 1, 2, 3, 4, \.\.\.\); use multinomial for more than 2$",
        ),
        (
            np.zeros((MAX_LABELS + 1, 1)),
            np.arange(MAX_LABELS + 1),
            None,
            "^column 'label': has more than 10000 different values, too many classes; is this a regression",
        ),
    ],
)
def test_data_that_can_not_be_classified_is_refused(X: Any, y: Any, weight: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        schema_of(X, y, weight)


def test_text_can_not_be_the_target_of_a_regression() -> None:
    with pytest.raises(
        DataError, match=r"^column 'label': row 1 \(counted from 0\) is text; a regression needs"
    ):
        schema_of(np.zeros((3, 1)), ["1.5", "red", "2"], task="regression")


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        (
            Split(0, 0.5, 0.5),
            "^data: none of 3 rows is left to train on; lower validation_fraction or test_fraction$",
        ),
        (Split(0, 1e-6, 0.0), "^validation_fraction: 1e-06 of 3 rows leaves no row for this part"),
        (Split(0, 0.0, 1e-6), "^test_fraction: 1e-06 of 3 rows leaves no row for this part"),
    ],
)
def test_a_part_without_rows_is_refused(split: Split, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        schema_of(np.zeros((3, 1)), [0, 1, 0], split=split)


def test_values_too_large_to_standardise_are_refused() -> None:
    with pytest.raises(DataError, match=r"^column 'x1': holds values too large to standardise$"):
        schema_of([[1, 1e300], [2, -1e300]], [0, 1], standardize=True)


def test_a_constant_column_is_never_scaled_however_large_it_is() -> None:
    schema = schema_of([[0.1, 2.0**700, 0.0]] * 7, [0, 1, 0, 1, 0, 1, 0], standardize=True)
    assert schema.preparation.scale == (1.0, 1.0, 1.0)


def test_a_job_needs_a_target() -> None:
    total = profile_shard(RawShard(0, 0, np.zeros((2, 1)), None, None), Split())
    with pytest.raises(DataError, match="target: is required"):
        schema_from_profile(
            total, Columns(("x0",), None, None), Needs("binary", "float32", standardize=False), Split()
        )
