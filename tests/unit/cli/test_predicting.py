"""``gradloom predict`` and ``evaluate``: a model on rows, without a cluster."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from builders.models import linear_model


def test_predictions_are_the_models_own_row_by_row(run, table, classifier, tmp_path):
    classifier.save(tmp_path / "m")
    X = load_breast_cancer().data[:, :1]
    for name in ("p.csv", "p.parquet"):
        status, out, _ = run("predict", tmp_path / "m", "--data", table, "--out", tmp_path / name)
        assert status == 0
        assert "569 predictions" in out
    written = pq.read_table(tmp_path / "p.parquet")
    assert written.column_names == ["prediction", "proba_benign", "proba_malignant"]
    assert written["prediction"].to_pylist() == classifier.predict(X).tolist()
    assert np.array_equal(written["proba_malignant"].to_numpy(), classifier.predict_proba(X)[:, 1])
    with (tmp_path / "p.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [row["prediction"] for row in rows] == written["prediction"].to_pylist()
    assert np.allclose(
        [float(row["proba_benign"]) for row in rows], written["proba_benign"].to_numpy(), rtol=1e-12
    )


def test_whole_number_classes_stay_whole_and_regressions_are_numbers(run, tmp_path):
    iris, diabetes = load_iris(), load_diabetes()
    for name, data in (("iris", iris), ("diabetes", diabetes)):
        columns = {f"c{j}": data.data[:, j] for j in range(data.data.shape[1])}
        pq.write_table(pa.table({**columns, "y": data.target}), tmp_path / f"{name}.parquet")
    names = tuple(f"c{j}" for j in range(4))
    logits = np.arange(12.0).reshape(4, 3) / 10
    linear_model("multinomial", names, "y", (0.0, 1.0, 2.0), logits, np.zeros(3)).save(tmp_path / "m")
    run("predict", tmp_path / "m", "--data", tmp_path / "iris.parquet", "--out", tmp_path / "p.parquet")
    written = pq.read_table(tmp_path / "p.parquet")
    assert written.schema.field("prediction").type == pa.int64()
    assert written.column_names[1:] == ["proba_0", "proba_1", "proba_2"]
    linear_model("linear", ("c2",), "y", None, np.array([900.0]), np.array(150.0)).save(tmp_path / "m")
    run("predict", tmp_path / "m", "--data", tmp_path / "diabetes.parquet", "--out", tmp_path / "p.parquet")
    predicted = pq.read_table(tmp_path / "p.parquet")["prediction"].to_numpy()
    assert np.allclose(predicted, 900 * diabetes.data[:, 2] + 150)


def test_a_missing_cell_is_named_and_no_half_file_is_left(run, classifier, tmp_path):
    classifier.save(tmp_path / "m")
    (tmp_path / "data.csv").write_text("mean_radius\n1.5\n\n2.5\nNA\n" + "3.5\n" * 10)
    (tmp_path / "p.csv").write_text("precious\n")
    status, _, err = run(
        "predict", tmp_path / "m", "--data", tmp_path / "data.csv", "--out", tmp_path / "p.csv"
    )
    assert status == 2
    assert "column 'mean_radius': row" in err
    assert "has no value" in err
    assert (tmp_path / "p.csv").read_text() == "precious\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "m", "p.csv"]


@pytest.mark.parametrize(
    ("model", "out", "status", "sentence"),
    [
        ("gone", "p.csv", 4, "gone"),
        ("m", "p.xlsx", 2, "out: 'p.xlsx' is not allowed; the name must end in .csv or .parquet"),
        ("cancer.parquet", "p.csv", 2, "error: "),
    ],
)
def test_model_and_output_are_checked_first(run, table, classifier, tmp_path, model, out, status, sentence):
    classifier.save(tmp_path / "m")
    got, _, err = run("predict", tmp_path / model, "--data", table, "--out", tmp_path / out)
    assert got == status
    assert sentence in err


def test_evaluation_by_shards_equals_the_models_scores_at_once(run, table, classifier, tmp_path):
    classifier.save(tmp_path / "m")
    status, out, _ = run("evaluate", tmp_path / "m", "--data", table, "--json")
    data = load_breast_cancer()
    expected = classifier.scores(data.data[:, :1], data.target_names[data.target])
    assert status == 0
    assert json.loads(out)["rows"] == 569
    assert json.loads(out)["scores"] == pytest.approx(expected, rel=1e-12)
    assert "accuracy" in run("evaluate", tmp_path / "m", "--data", table, "--target", "kind")[1]


def test_evaluation_of_many_shards_of_a_regression(run, tmp_path):
    data = load_diabetes()
    columns = {f"c{j}": np.tile(data.data[:, j], 40) for j in range(10)}
    pq.write_table(pa.table({**columns, "y": np.tile(data.target, 40)}), tmp_path / "d.parquet")
    model = linear_model("linear", ("c2",), "y", None, np.array([900.0]), np.array(150.0))
    model.save(tmp_path / "m")
    scores = json.loads(run("evaluate", tmp_path / "m", "--data", tmp_path / "d.parquet", "--json")[1])[
        "scores"
    ]
    assert scores == pytest.approx(model.scores(data.data[:, 2:3], data.target), rel=1e-9)


def test_labels_that_the_model_does_not_know_are_named(run, classifier, tmp_path):
    classifier.save(tmp_path / "m")
    (tmp_path / "data.csv").write_text("mean_radius,kind\n1.5,benign\n2.5,unsure\n")
    status, _, err = run("evaluate", tmp_path / "m", "--data", tmp_path / "data.csv")
    assert status == 2
    assert "column 'kind': rows 0 to 1: label 'unsure'" in err
