"""What is read from disks: models, checkpoints, sealed files, keys, and the data sets that people point at."""

import io
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from builders.models import linear_model
from builders.shards import read_shard
from fuzz.target import MIB, Target
from gradloom import model_file
from gradloom.data.planning import build_manifest
from gradloom.data.preparation import Preparation, Split
from gradloom.errors import InvalidInput, ModelFileError
from gradloom.keys import Key, Keyring
from gradloom.models import model_from_bytes
from gradloom.optimizers.lbfgs import LbfgsState
from gradloom.saved import Saved, restore_value
from gradloom.schema import Schema
from gradloom.sealing import opened, sealed
from gradloom_coordinator.durability.checkpoints import Checkpoint, CheckpointUnusable, from_bytes, to_bytes

KEY = Key(bytes(32))
SCHEMA = Schema(("a",), "y", None, 3, 0, 0, 3.0, Preparation(Split(0, 0.0, 0.0), "float32", None, (), (), ()))
CHECKPOINT = Checkpoint(2, SCHEMA, Saved({"w": np.ones(3)}, {"loss": "0x1p-1"}), 0.5, 9)


def model(data: bytes) -> None:
    model_from_bytes(data)


def model_header(data: bytes) -> None:
    """Any JSON in the place of a model's header, with arrays that fit."""
    length = len(data)
    inner = json.dumps({"__metadata__": {"gradloom": data.decode("utf-8", "replace")}}).encode()
    model_from_bytes(len(inner).to_bytes(8, "little") + inner)
    assert length >= 0


def checkpoint(data: bytes) -> None:
    from_bytes(data, "0" * 64)


def restored(data: bytes) -> None:
    """Any values in the place of an optimizer's state."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict):
        restore_value(LbfgsState, Saved({"point": np.ones(2)}, values))


def seal(data: bytes) -> None:
    opened(data, Keyring((KEY,)))


def data_set(extension: str) -> Callable[[bytes], None]:
    """Plan and read a file of a format."""

    def read(data: bytes) -> None:
        with tempfile.NamedTemporaryFile(suffix=extension, dir=_FOLDER) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of headers from Python 2
            Path(file.name).write_bytes(data)
            manifest = build_manifest([file.name], target_optional=True, unsupervised=True)
            for shard in range(min(2, len(manifest.shards))):
                read_shard(manifest, shard)

    return read


_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None


def npy(data: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, data)
    return file.getvalue()


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def npz_seeds() -> list[bytes]:
    deflated = io.BytesIO()
    np.savez_compressed(deflated, X=np.ones((30, 4)), y=np.arange(30))
    sparse = npz(
        data=np.ones(3),
        indices=np.arange(3),
        indptr=np.arange(4),
        shape=np.array([3, 3]),
        format=np.array(b"csr"),
    )
    named = npz(X=np.ones((2, 2)), y=["a", "b"], feature_names=["p", "q"], sample_weight=[1.0, 2.0])
    return [sparse, named, deflated.getvalue()]


def parquet_seeds() -> list[bytes]:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1.0, 2.0], "b": ["x", "y"], "c": [1, None]}), file)
    return [file.getvalue()]


def model_seeds() -> list[bytes]:
    one = linear_model("linear", ("a",), "y", None, np.ones(1), np.zeros(()))
    return [one.to_bytes()]


def header_seeds() -> list[bytes]:
    header = model_file.decode(model_seeds()[0]).header
    return [json.dumps(header).encode(), json.dumps({**header, "kind": "neighbors"}).encode(), b"[" * 100_000]


def state_seeds() -> list[bytes]:
    return [
        json.dumps(values).encode()
        for values in (
            {"loss": "0x1p0", "pairs": 2, "pairs.0.s": None},
            {"pairs": 10**12},
            {"loss": "0x1p99999"},
            {"pairs": "99999999999"},
        )
    ]


TARGETS = (
    Target("model", model, (ModelFileError,), model_seeds),
    Target("model_header", model_header, (ModelFileError,), header_seeds),
    Target("checkpoint", checkpoint, (CheckpointUnusable,), lambda: [to_bytes(CHECKPOINT)[0]]),
    Target("restored", restored, (ValueError,), state_seeds),
    Target("seal", seal, (ModelFileError,), lambda: [b"".join(sealed(b"secret" * 9, KEY, 16))]),
    Target(
        "npy",
        data_set(".npy"),
        (InvalidInput,),
        lambda: [npy(np.ones((30, 3))), npy(np.asfortranarray(np.ones((9, 3))))],
        24 * MIB,
    ),
    Target("npz", data_set(".npz"), (InvalidInput,), npz_seeds, 24 * MIB),
    Target("csv", data_set(".csv"), (InvalidInput,), lambda: [b'a,b\n1,"2"\n3,4\n'], 24 * MIB),
    Target("svmlight", data_set(".svm"), (InvalidInput,), lambda: [b"1 1:2 3:4\n-1 2:5\n"], 24 * MIB),
    Target("parquet", data_set(".parquet"), (InvalidInput,), parquet_seeds, 24 * MIB),
)
