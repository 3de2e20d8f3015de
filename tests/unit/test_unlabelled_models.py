"""Models that have learnt without a target, on data files: what ``predict`` writes and ``evaluate`` tells."""

from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_iris

from gradloom.algorithms import build
from gradloom.cli import offline
from gradloom.data.manifest import Columns
from gradloom.data.preparation import Split
from gradloom.data.profile import profile_shard
from gradloom.data.profile_schema import schema_from_profile
from gradloom.data.shard import RawShard
from gradloom.errors import DataError, InvalidInput, ModelFileError
from gradloom.models import Clusters, Components, Model, Statistics, load_model, model_from_bytes
from tests.unit.algorithms.training import Data, train

X: NDArray[np.float64] = load_iris().data
HOLE = (17, 2)


def trained(algorithm: str, **settings: object) -> Model:
    return train(build(algorithm, settings), Data(X, np.zeros(len(X))))


MODELS = {
    "kmeans": trained("kmeans", n_clusters=3, dtype="float64"),
    "pca": trained("pca", n_components=2),
    "statistics": trained("statistics"),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def written(path: Path, rows: NDArray[np.float64]) -> list[str]:
    """A csv file whose columns are called as in training, with one more that is text."""
    cells = [[*("" if np.isnan(cell) else repr(float(cell)) for cell in row), "text"] for row in rows]
    path.write_text("\n".join(",".join(line) for line in [["x0", "x1", "x2", "x3", "kind"], *cells]))
    return [str(path)]


def with_a_hole() -> NDArray[np.float64]:
    rows = X.copy()
    rows[HOLE] = np.nan
    return rows


@each_model
def test_predictions_are_what_the_model_gives_in_columns_of_their_names(model: Model, tmp_path: Path) -> None:
    data, out = written(tmp_path / "x.csv", X), tmp_path / "out.csv"
    assert offline.predict(model, data, None, out) == len(X)
    table = pyarrow.csv.read_csv(out)
    names = {
        Clusters: ["prediction"],
        Components: ["component_0", "component_1"],
        Statistics: ["x0", "x1", "x2", "x3"],
    }
    assert table.column_names == names[type(model)]
    found = np.column_stack([column.to_numpy() for column in table.columns])
    expected = model.predict(X)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-12)
    if isinstance(model, Clusters):
        assert str(table.schema.types[0]) == "int64"


@each_model
def test_scores_of_files_are_those_of_rows_and_need_no_target(model: Model, tmp_path: Path) -> None:
    data = written(tmp_path / "x.csv", X)
    rows, scores = offline.evaluate(model, data, None, "")
    expected = model.scores(X, None)
    assert rows == len(X)
    assert scores == {name: pytest.approx(value, rel=1e-12) for name, value in expected.items()}
    with pytest.raises(InvalidInput, match=f"target: 'kind' means nothing to {model.algorithm}"):
        offline.evaluate(model, data, None, "kind")


@each_model
def test_only_statistics_take_cells_without_a_value(model: Model, tmp_path: Path) -> None:
    data, out = written(tmp_path / "x.csv", with_a_hole()), tmp_path / "out.csv"
    if isinstance(model, Statistics):
        assert offline.predict(model, data, None, out) == len(X)
        line = out.read_text().splitlines()[1 + HOLE[0]].split(",")
        assert [not cell for cell in line] == [False, False, True, False]
        assert offline.evaluate(model, data, None, "")[0] == len(X)
        return
    for use in (
        lambda: offline.predict(model, data, None, out),
        lambda: offline.evaluate(model, data, None, ""),
    ):
        with pytest.raises(DataError, match="column 'x2': row 17 has no value"):
            use()
    assert not out.exists()


@each_model
def test_a_model_comes_back_from_its_file(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.model")
    back = load_model(tmp_path / "m.model")
    assert type(back) is type(model)
    assert back.parameters_sha256 == model.parameters_sha256
    np.testing.assert_array_equal(back.predict(X), model.predict(X))


@each_model
def test_a_file_whose_arrays_do_not_fit_is_refused(model: Model) -> None:
    fields = {name: getattr(model, name) for name in ("algorithm", "version", "target", "classes")}
    broken = type(model)(**fields, features=("one",), **model.arrays)
    with pytest.raises(ModelFileError, match="of shape"):
        model_from_bytes(broken.to_bytes())


def test_columns_are_centred_but_not_scaled_where_that_is_asked_for() -> None:
    columns = Columns(("x0", "x1", "x2", "x3"), None, None)
    profile = profile_shard(RawShard(0, 0, X, None, None), Split())
    preparation = schema_from_profile(profile, columns, build("pca").needs, Split()).preparation
    np.testing.assert_allclose(preparation.center, X.mean(axis=0), rtol=1e-14)
    assert preparation.scale == ()
    assert schema_from_profile(profile, columns, build("statistics").needs, Split()).preparation.center == ()
