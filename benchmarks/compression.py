"""Accuracy and bytes of every codec against none: Fashion-MNIST, 784-128-10, on a cluster of real processes.

    python benchmarks/compression.py --data FOLDER [--workers 4] [--epochs 6] [--seeds 0,1] [--only topk]

The network is trained by SGD with Nesterov momentum on batches of 512, its steps falling to 0
along a cosine (so that the end is not a matter of luck), and scored on the official 10,000 test images.
Only ``dgc`` gets other settings: it keeps the momentum itself and forgets it where it has sent, so its rate is larger.
FOLDER holds the four original .gz files, as Debian's package dataset-fashion-mnist installs them.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from mlp import DEBIAN, Images, images

from gradloom import LocalCluster
from gradloom.client import Client

LIMIT_S = 1800.0
SETTINGS: dict[str, object] = {
    "hidden_layer_sizes": "128",
    "solver": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "schedule": "cosine",
    "batch_size": 512,
    "standardize": False,
    "patience": 0,
}


@dataclass(frozen=True)
class Case:
    """One way to send."""

    codec: str
    downlink: str = "none"
    settings: dict[str, object] = field(default_factory=dict)


CASES = (
    Case("none"),
    Case("float16"),
    Case("bfloat16"),
    Case("int8"),
    Case("topk:0.1"),
    Case("topk:0.01"),
    Case("topk:0.001"),
    Case("dgc:0.01,warmup=200", settings={"momentum": 0.0, "learning_rate": 0.3}),
    Case("dgc:0.001,warmup=200", settings={"momentum": 0.0, "learning_rate": 0.3}),
    Case("powersgd:2,columns=128"),
    Case("powersgd:4,columns=128"),
    Case("signsgd"),
    Case("none", "bfloat16"),
    Case("none", "int8"),
    Case("none", "topk:0.02"),
    Case("int8", "int8"),
    Case("topk:0.01", "topk:0.02"),
)


@dataclass(frozen=True)
class Row:
    """What became of it: means over the seeds; ratios are to float32, half of what none sends up."""

    codec: str
    downlink: str
    accuracy: float
    spread: float
    """Largest less smallest accuracy."""
    up_x: float
    down_x: float
    up_mb: float
    encode_s: float
    decode_s: float
    relative_error: float | None
    seconds: float


def measure(client: Client, path: Path, case: Case, options: argparse.Namespace, test: Images) -> Row:
    accuracies, seconds = [], []
    for seed in map(int, options.seeds.split(",")):
        start = time.perf_counter()
        job = client.submit(
            "mlp_classifier",
            data=str(path),
            shards=options.workers,
            seed=seed,
            codec=case.codec,
            downlink=case.downlink,
            settings={**SETTINGS, "max_epochs": options.epochs, **case.settings},
        )
        view = job.wait(LIMIT_S)
        assert view.state == "completed", view.reason
        seconds.append(time.perf_counter() - start)
        accuracies.append(job.model().scores(test.X, test.y)["accuracy"])
    ledger = view.compression
    assert ledger is not None
    return Row(
        codec=case.codec,
        downlink=case.downlink,
        accuracy=100 * statistics.mean(accuracies),
        spread=100 * (max(accuracies) - min(accuracies)),
        up_x=ledger.raw_bytes_up / 2 / ledger.wire_bytes_up,
        down_x=ledger.raw_bytes_down / ledger.wire_bytes_down,
        up_mb=ledger.wire_bytes_up / 1e6,
        encode_s=ledger.encode_seconds,
        decode_s=ledger.decode_seconds,
        relative_error=ledger.relative_error,
        seconds=statistics.mean(seconds),
    )


def rows(options: argparse.Namespace) -> Iterator[Row]:
    train, test = images(options.data, "train"), images(options.data, "t10k")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fashion.npz"
        np.savez(path, X=train.X, y=train.y)
        with LocalCluster(workers=options.workers) as cluster, cluster.client() as client:
            for case in CASES:
                if options.only in f"{case.codec}/{case.downlink}":
                    yield measure(client, path, case, options, test)


def as_line(row: Row) -> str:
    error = "" if row.relative_error is None else f"{row.relative_error:.2g}"
    cells = (
        f"{row.codec:24}",
        f"{row.downlink:10}",
        f"{row.accuracy:6.2f}",
        f"{row.spread:5.2f}",
        f"{row.up_x:7.1f}",
        f"{row.down_x:6.1f}",
        f"{row.up_mb:8.1f}",
        f"{row.encode_s:6.2f}",
        f"{row.decode_s:6.2f}",
        f"{error:>8}",
        f"{row.seconds:6.1f}",
    )
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| up | down | accuracy % | spread | up x | down x | MB up | encode s | decode s | error | s |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEBIAN)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--only", default="", help="codecs whose text holds this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.json:
        print(HEAD, flush=True)
    for row in rows(options):
        print(json.dumps(asdict(row)) if options.json else as_line(row), flush=True)


if __name__ == "__main__":
    main()
