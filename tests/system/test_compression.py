"""Codecs on real processes: what they save, what they cost, what they survive."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from builders.dawdling import dawdle, hurry
from builders.durable import until, until_durable
from builders.proxy import Proxy, proxy_to
from builders.shell import Shell
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.errors import InvalidInput
from gradloom.jobs import Compression, JobEvent, JobState, JobView, Note, RoundCompleted

pytestmark = pytest.mark.system

LIMIT_S = 60.0
ROUNDS = 60
COLUMNS = 600
"""Times ten classes: a gradient of 6,000 numbers, above the size that codecs take."""


@pytest.fixture(scope="module")
def digits(data_dir: Path) -> Path:
    """Ten classes that a linear model tells apart nearly always; the target is column 600."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((3000, COLUMNS))
    scores = X @ rng.standard_normal((COLUMNS, 10)) + 2 * rng.standard_normal((3000, 10))
    path = data_dir / "digits.npy"
    np.save(path, np.column_stack([X, scores.argmax(axis=1)]))
    return path


def submit(client: Client, data: Path, *, rounds: int = ROUNDS, shards: int = 8, **codecs: str) -> Job:
    settings = {"solver": "adam", "learning_rate": 0.01, "max_rounds": rounds, "tolerance": 0.0}
    return client.submit(
        "multinomial",
        data=str(data),
        target=str(COLUMNS),
        shards=shards,
        seed=3,
        settings=settings,
        codec=codecs.get("codec", ""),
        downlink=codecs.get("downlink", ""),
    )


def completed(job: Job) -> tuple[JobView, Compression]:
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    assert view.compression is not None
    return view, view.compression


def until_round(events: Iterator[JobEvent], wanted: int) -> None:
    for event in events:
        if isinstance(event.what, RoundCompleted) and event.what.round >= wanted:
            return
    raise AssertionError(f"the job ended before round {wanted}")


def ledger_of(job: Job | JobView) -> Compression:
    view = job.view() if isinstance(job, Job) else job
    assert view.compression is not None
    return view.compression


@pytest.fixture(scope="module")
def alone() -> Iterator[Client]:
    """A cluster of one worker."""
    with LocalCluster(workers=1) as cluster, cluster.client() as one:
        yield one


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with cluster.client() as one:
        yield one


@pytest.fixture(scope="module")
def plain(client: Client, digits: Path) -> JobView:
    """The same job without codecs."""
    view, ledger = completed(submit(client, digits))
    assert ledger.raw_bytes_up == ledger.wire_bytes_up > 0
    assert ledger.raw_bytes_down == ledger.wire_bytes_down > 0
    assert ledger.encode_seconds == ledger.decode_seconds == ledger.residual_norm == 0.0
    return view


@pytest.mark.parametrize(
    ("codec", "smaller", "worse"),
    [
        ("float16", 3.9, 1.001),
        ("bfloat16", 3.9, 1.001),
        ("int8", 7.0, 1.01),
        ("topk:0.1", 20.0, 4.0),
        ("signsgd", 30.0, 4.0),
        ("powersgd:4", 3.0, 12.0),  # these gradients have a rank of 10
        ("dgc:0.1,momentum=0,warmup=20", 10.0, 4.0),
    ],
)
def test_each_codec_sends_less_and_learns_the_same(
    codec: str, smaller: float, worse: float, client: Client, digits: Path, plain: JobView
) -> None:
    view, ledger = completed(submit(client, digits, codec=codec))
    assert ledger.raw_bytes_up > smaller * ledger.wire_bytes_up
    assert ledger.raw_bytes_down == ledger.wire_bytes_down
    assert ledger.encode_seconds > 0
    assert ledger.decode_seconds > 0
    assert ledger.relative_error is not None
    assert ledger.relative_error > 0
    assert ledger.resets == 0
    assert plain.loss is not None
    assert view.loss is not None
    assert view.loss < worse * plain.loss


@pytest.mark.parametrize("downlink", ["bfloat16", "int8", "topk:0.05"])
def test_parameters_that_come_as_differences_give_every_worker_the_same(
    downlink: str, client: Client, alone: Client, digits: Path, plain: JobView
) -> None:
    """The uplink is exact, so the model must not depend on the workers, though what they see is rounded."""
    view, ledger = completed(submit(client, digits, downlink=downlink))
    assert ledger.raw_bytes_down > 3 * ledger.wire_bytes_down
    single, _ = completed(submit(alone, digits, downlink=downlink))
    assert view.parameters_sha256 == single.parameters_sha256 != plain.parameters_sha256
    assert view.loss == single.loss


def test_big_messages_travel_packed_too(client: Client, data_dir: Path) -> None:
    """40,000 columns: what is sent takes frames of the bulk stream, packed or not."""
    path = data_dir / "wide.npy"
    rng = np.random.default_rng(1)
    X = rng.standard_normal((60, 40_000)).astype(np.float32)
    np.save(path, np.column_stack([X, X[:, 0] > 0]))
    settings = {"solver": "adam", "max_rounds": 8, "tolerance": 0.0}
    jobs = {
        text: client.submit(
            "logistic", data=str(path), target="40000", shards=4, codec=text, settings=settings
        )
        for text in ("none", "float16", "bfloat16", "auto")
    }
    views = {text: completed(job) for text, job in jobs.items()}
    exact = views["none"][0].loss
    assert exact is not None
    for text in ("float16", "bfloat16"):
        view, ledger = views[text]
        assert view.loss == pytest.approx(exact, rel=1e-2)
        assert ledger.raw_bytes_up > 3.9 * ledger.wire_bytes_up
    assert views["auto"][1].reason
    notes = [event.what.text for event in jobs["auto"].watch() if isinstance(event.what, Note)]
    assert any(note.startswith("codec ") for note in notes)


def test_a_killed_worker_takes_its_residuals_along_and_is_counted(digits: Path, plain: JobView) -> None:
    with LocalCluster(workers=3, allow_chaos=True) as cluster, cluster.client() as client:
        before, ledger = completed(submit(client, digits, codec="topk:0.1", downlink="int8"))
        job = submit(client, digits, rounds=100_000, codec="topk:0.1")
        events = job.watch(timeout_s=LIMIT_S)
        until_round(events, 20)
        dawdle(client)
        os.kill(cluster.workers[1].pid, signal.SIGKILL)
        until(lambda: ledger_of(job).resets == 1, "the worker is given up")  # until then it might come back
        hurry(client)
        until_round(events, job.view().rounds + ROUNDS)
        view = job.cancel("seen enough")
    assert (ledger.resets, ledger_of(view).resets) == (0, 1)
    assert ledger.wire_bytes_down < ledger.raw_bytes_down / 5
    assert plain.loss is not None
    assert before.loss is not None
    assert view.loss is not None
    assert view.loss < plain.loss < before.loss < 4 * plain.loss


@contextmanager
def worker_behind(proxy: Proxy) -> Iterator[None]:
    """A worker that reaches its coordinator through a proxy."""
    options = ("--coordinator", proxy.address, "--name", "far", "--metrics-port", "0", "--announce")
    process = subprocess.Popen([sys.executable, "-m", "gradloom_worker", *options], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline()
        yield
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_S)


@pytest.fixture(scope="module")
def deserted() -> Iterator[LocalCluster]:
    """A coordinator whose only worker is the one that a test brings."""
    with LocalCluster(workers=1) as cluster:
        cluster.workers[0].terminate()
        assert cluster.workers[0].wait(LIMIT_S) == 0
        yield cluster


@pytest.mark.parametrize("codec", ["topk:0.1", "dgc:0.1,momentum=0.5,warmup=0"])
def test_connections_that_break_lose_nothing_of_what_was_left_out(
    codec: str, digits: Path, alone: Client, deserted: LocalCluster
) -> None:
    """With one shard the sums that are encoded are always the same: so must the bits be, whatever breaks."""
    reference, _ = completed(submit(alone, digits, rounds=150, shards=1, codec=codec, downlink="int8"))
    with proxy_to(deserted.address) as proxy, worker_behind(proxy), deserted.client() as client:
        job = submit(client, digits, rounds=150, shards=1, codec=codec, downlink="int8")
        events = job.watch(timeout_s=LIMIT_S)
        for round_ in (10, 35, 60, 61, 100):
            until_round(events, round_)
            proxy.cut()
        view, ledger = completed(job)
    assert view.parameters_sha256 == reference.parameters_sha256
    assert ledger.resets == 0


def test_auto_takes_a_codec_where_the_line_is_slow(deserted: LocalCluster, data_dir: Path) -> None:
    path = data_dir / "broad.npy"
    rng = np.random.default_rng(1)
    X = rng.standard_normal((40, 20_000)).astype(np.float32)
    np.save(path, np.column_stack([X, np.arange(40) % 8]))
    settings = {"solver": "adam", "max_rounds": 8, "tolerance": 0.0}
    with (
        proxy_to(deserted.address, bytes_per_s=10e6) as proxy,
        worker_behind(proxy),
        deserted.client() as client,
    ):
        job = client.submit(
            "multinomial", data=str(path), target="20000", shards=1, codec="auto", settings=settings
        )
        _, ledger = completed(job)
        notes = [event.what.text for event in job.watch() if isinstance(event.what, Note)]
    assert ledger.codec in ("int8", "topk:0.01")
    assert ledger.wire_bytes_up < 0.7 * ledger.raw_bytes_up
    assert "answers of 1.28 MB come at" in ledger.reason
    assert f"codec {ledger.codec}: {ledger.reason}" in notes


def test_the_codec_of_a_live_job_is_changed(client: Client, digits: Path) -> None:
    job = submit(client, digits, rounds=100_000)
    events = job.watch(timeout_s=LIMIT_S)
    until_round(events, 3)
    for codec, downlink in (("topk:0.05", "int8"), ("int8", "none"), ("dgc:0.1", "topk"), ("none", "none")):
        view = job.update(codec=codec, downlink=downlink)
        assert view.spec.codec.startswith(codec)
        until_round(events, view.rounds + 5)
        ledger = ledger_of(job)
        assert (ledger.codec.partition(",")[0], ledger.downlink.partition(":")[0]) == (
            codec,
            downlink.partition(":")[0],
        )
    for codec in ("topk:0", "zip"):
        with pytest.raises(InvalidInput, match="codec"):
            job.update(codec=codec)
    job.cancel("seen enough")
    notes = [event.what.text for event in job.watch() if isinstance(event.what, Note)]
    for change in ("codec: none -> topk:0.05", "downlink: none -> int8"):
        assert any(note.startswith(f"{change}, from the next round on") for note in notes)


def test_a_codec_that_does_not_suit_is_refused_at_once(client: Client, digits: Path) -> None:
    with pytest.raises(InvalidInput, match=r"codec: topk:0.01 does not suit multinomial"):
        client.submit(
            "multinomial", data=str(digits), target="600", codec="topk:0.01", settings={"solver": "lbfgs"}
        )


def test_a_coordinator_that_comes_back_goes_on_with_what_workers_have(digits: Path) -> None:
    """The uplink is exact: the same bits, though the parameters come as differences."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADLOOM_CHECKPOINT_EVERY", "0.1")
        with LocalCluster(workers=2, allow_chaos=True) as cluster, cluster.client() as client:
            reference, _ = completed(submit(client, digits, rounds=150, downlink="int8"))
            dawdle(client)
            job = submit(client, digits, rounds=150, downlink="int8")
            lossy = submit(client, digits, rounds=150, codec="topk:0.1", downlink="int8")
            for one in (job, lossy):
                until_durable(cluster, one, after_round=0)
            cluster.kill_coordinator()
            cluster.restart_coordinator()
            until(lambda: len(client.workers()) == 2, "the workers are back")
            hurry(client)
            with cluster.client() as again:
                view, _ = completed(again.job(job.id))
                _, ledger = completed(again.job(lossy.id))
    assert view.parameters_sha256 == reference.parameters_sha256
    assert ledger.resets == 0
    assert (
        ledger.raw_bytes_up > 4 * ledger.wire_bytes_up
    )  # every checkpoint has had all that is left out sent


@pytest.mark.parametrize("codec", ["topk:0.1", "dgc:0.1,momentum=0.5,warmup=0"])
def test_what_was_left_out_outlives_the_coordinator(codec: str, digits: Path) -> None:
    """With one shard the sums that are encoded are always the same: so are the bits, whoever is killed."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADLOOM_CHECKPOINT_EVERY", "0.05")
        with LocalCluster(workers=1, allow_chaos=True) as cluster, cluster.client() as client:
            reference, _ = completed(submit(client, digits, rounds=150, shards=1, codec=codec))
            dawdle(client, 5.0)
            job = submit(client, digits, rounds=150, shards=1, codec=codec)
            for after_round in (10, 60):
                until_durable(cluster, job, after_round=after_round)
                cluster.kill_coordinator()
                cluster.restart_coordinator()
            view, ledger = completed(job)
    assert view.parameters_sha256 == reference.parameters_sha256
    assert ledger.resets == 0


def test_the_ledger_is_shown_by_the_command_and_the_metrics(
    cluster: LocalCluster, client: Client, digits: Path, shell: Shell
) -> None:
    job = submit(client, digits, codec="topk:0.1", downlink="int8")
    _, ledger = completed(job)
    shown = shell.text("show", job.id, "--cluster", cluster.address)
    assert "topk:0.1 now" in shown
    assert "codec error" in shown
    as_json = shell.json("show", job.id, "--cluster", cluster.address)
    assert as_json["compression"]["wire_bytes_up"] == ledger.wire_bytes_up
    with urllib.request.urlopen(f"http://{cluster.metrics_address}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    sample = f'gradloom_gradient_wire_bytes_total{{codec="topk:0.1",direction="up",job_id="{job.id}"}}'
    assert f"{sample} {float(ledger.wire_bytes_up)}" in lines
