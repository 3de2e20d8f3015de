"""What ``gradloom`` refuses: one sentence, a documented exit status, no file and no process left."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from builders.shell import NOTHING, Shell

pytestmark = pytest.mark.system

NOBODY = "127.0.0.1:1"
"""Nobody listens at this port."""


@pytest.fixture(scope="module")
def tables(breast_cancer_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Breast cancer as it should be, and with one thing wrong."""
    folder = tmp_path_factory.mktemp("tables")
    good = pc.read_csv(breast_cancer_csv)
    benign = pyarrow.compute.equal(good["diagnosis"], "benign")
    texture = good["mean_texture"].to_pylist()
    texture[7] = None
    grades = pa.array([i % 3 for i in range(good.num_rows)])
    contents = {
        "parquet": good,
        "gap": good.set_column(1, "mean_texture", pa.array(texture)),
        "one_class": good.filter(benign),
        "three_classes": good.append_column("grade", grades),
        "narrow": good.drop_columns(["worst_area"]),
    }
    for name, table in contents.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return {"csv": breast_cancer_csv, **{name: folder / f"{name}.parquet" for name in contents}}


@pytest.fixture(scope="module")
def model(up: dict[str, Any], tables: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that ``gradloom train`` wrote."""
    folder = tmp_path_factory.mktemp("model")
    train = ["train", "logistic", "--data", tables["parquet"], "--target", "diagnosis", "--set", "l2=0.01"]
    Shell(folder).text(*train, "--cluster", up["address"], "--out", "model.safetensors")
    return folder / "model.safetensors"


@dataclass(frozen=True)
class Refusal:
    """A command line, its exit status, and its sentence; ``{...}`` are tables and addresses, ``...`` is anything."""

    words: str
    status: int
    sentence: str


HERE = "--data {parquet} --target diagnosis"
AT = "--cluster {address}"
NO_COLUMN = "job ... failed: target: 'diagnosys' is not a column of {parquet}; ... Did you mean 'diagnosis'?"
FEW = "--features mean_radius,mean_area"
REFUSALS = {
    # known before anything is started
    "unknown algorithm": Refusal(
        f"train logistik {HERE}", 2, "algorithm: 'logistik' is not known; ... Did you mean 'logistic'?"
    ),
    "unknown setting": Refusal(
        f"train logistic {HERE} --set lerning_rate=1",
        2,
        "setting: 'lerning_rate' is not known; ... Did you mean 'learning_rate'?",
    ),
    "negative learning rate": Refusal(
        f"train logistic {HERE} --set learning_rate=-1", 2, "learning_rate: '-1' is not allowed; "
    ),
    "setting without =": Refusal(
        f"train logistic {HERE} --set l2", 2, "--set: 'l2' is not allowed; write NAME=VALUE"
    ),
    "missing file": Refusal(
        "train logistic --data gone.parquet --target y", 2, ".../gone.parquet: no such file or directory"
    ),
    "missing folder": Refusal(
        f"train logistic {HERE} --out no/folder/model", 2, "out: the folder .../no/folder does not exist"
    ),
    "too many workers": Refusal(
        f"train logistic {HERE} --workers 65", 2, "workers: 65 is not allowed; it must lie in [1, 64]"
    ),
    # found in the data
    "missing column": Refusal(f"train logistic --data {{parquet}} --target diagnosys {AT}", 1, NO_COLUMN),
    "feature of text": Refusal(
        f"train logistic --data {{three_classes}} --target grade {AT}",
        1,
        "job ... failed: column 'diagnosis': ... in {three_classes}, not a number; ",
    ),
    "missing cell": Refusal(
        f"train logistic --data {{gap}} --target diagnosis {AT}",
        1,
        "job ... failed: column 'mean_texture': row 7 has no value",
    ),
    "missing cell, own cluster": Refusal(
        "train logistic --data {gap} --target diagnosis --workers 1",
        1,
        "job ... failed: column 'mean_texture': row 7 has no value",
    ),
    "one class": Refusal(
        f"train logistic --data {{one_class}} --target diagnosis {AT}",
        1,
        "job ... failed: column 'diagnosis': ... 'benign'",
    ),
    "three classes": Refusal(
        f"train logistic --data {{three_classes}} --target grade {FEW} {AT}",
        1,
        "job ... failed: column 'grade': ... 3 ... multinomial",
    ),
    # ports and clusters
    "port in use": Refusal(
        "up --workers 1 --port {port}", 3, "coordinator did not start: port: {port} is in use; choose another"
    ),
    "metrics port in use": Refusal(
        "up --workers 1 --port 0 --metrics-port {metrics_port}",
        3,
        "coordinator did not start: metrics_port: {metrics_port} can't be bound: Address already in use",
    ),
    "unreachable cluster": Refusal(
        f"jobs --cluster {NOBODY}", 3, f"the cluster at {NOBODY} can't be reached: "
    ),
    "unreachable for training": Refusal(
        f"train logistic {HERE} --cluster {NOBODY}", 3, f"the cluster at {NOBODY} can't be reached: "
    ),
    # jobs and models
    "unknown job": Refusal(f"show logistic-0 {AT}", 4, "there is no job 'logistic-0'"),
    "unknown job, watched": Refusal(f"watch logistic-0 {AT}", 4, "there is no job 'logistic-0'"),
    "unknown job, cancelled": Refusal(f"cancel logistic-0 {AT}", 4, "there is no job 'logistic-0'"),
    "unknown job's model": Refusal(f"model logistic-0 --out m {AT}", 4, "there is no job 'logistic-0'"),
    "no model file": Refusal(
        "predict gone.safetensors --data {csv} --out p.csv", 4, "there is no model file 'gone.safetensors'"
    ),
    "model cut short": Refusal(
        "predict {cut} --data {csv} --out p.csv", 2, "the model file is cut short or damaged: "
    ),
    "no model at all": Refusal(
        "evaluate {csv} --data {csv}", 2, "the file of ... bytes is cut short, or is no safetensors file"
    ),
    "column missing for the model": Refusal(
        "predict {model} --data {narrow} --out p.parquet", 2, "'worst_area' is not a column of {narrow}; "
    ),
    "missing cell for the model": Refusal(
        "predict {model} --data {gap} --out p.parquet", 2, "column 'mean_texture': row 7 has no value"
    ),
    "predictions as text": Refusal(
        "predict {model} --data {csv} --out p.txt", 2, "out: 'p.txt' is not allowed; "
    ),
}


@pytest.fixture(scope="module")
def names(
    up: dict[str, Any], tables: dict[str, Path], model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What stands for the words in braces."""
    cut = tmp_path_factory.mktemp("cut") / "model.safetensors"
    cut.write_bytes(model.read_bytes()[:-100])
    ports = {
        key: up[name].rpartition(":")[2]
        for key, name in [("port", "address"), ("metrics_port", "metrics_address")]
    }
    paths = {name: str(path) for name, path in {**tables, "model": model, "cut": cut}.items()}
    return {**paths, **ports, "address": up["address"]}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
def test_bad_input_is_refused_with_one_sentence_and_leaves_nothing(
    shell: Shell, names: dict[str, str], refusal: Refusal
) -> None:
    done = shell.run(*(word.format_map(names) for word in refusal.words.split()), "--json")
    sentence = json.loads(done.out)["error"]["message"]
    parts = [re.escape(part) for part in refusal.sentence.format_map(names).split("...")]
    assert re.search(".*".join(parts), sentence), sentence
    assert done.status == refusal.status
    assert [line for line in done.err.splitlines() if line.startswith("error")] == [f"error: {sentence}"]
    assert "Traceback" not in done.err
    assert shell.left_behind() == NOTHING
