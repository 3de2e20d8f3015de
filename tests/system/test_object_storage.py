"""Data, checkpoints and uploads in an object store: a real server that speaks S3, real s3fs in the children."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builders.durable import until, until_durable
from builders.objects import CREDENTIALS, Objects, objects_server
from builders.proxy import Proxy, proxy_to
from builders.shell import Shell
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.errors import InvalidInput, Unavailable
from gradloom.jobs import JobEvent, JobState, Note, RoundCompleted, StateChanged

pytestmark = pytest.mark.system

LIMIT_S = 60.0
ROWS, COLUMNS, FILES, SHARDS = 20_000, 20, 4, 8
DATA = "s3://rows/allowed/*.parquet"
LONG: dict[str, object] = {"solver": "adam", "batch_size": 512, "max_rounds": 600}
SHORT: dict[str, object] = {"solver": "lbfgs", "tolerance": 0.0, "max_rounds": 4}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    rng = np.random.default_rng(7)
    X = rng.standard_normal((ROWS, COLUMNS))
    y = (X @ rng.standard_normal(COLUMNS) + rng.standard_normal(ROWS) > 0).astype(float)
    made = {}
    for i, rows in enumerate(np.split(np.arange(ROWS), FILES)):
        columns = {f"x{j}": X[rows, j] for j in range(COLUMNS)} | {"y": y[rows]}
        sink = io.BytesIO()
        pq.write_table(pa.table(columns), sink)
        made[f"part-{i}.parquet"] = sink.getvalue()
    return made


@pytest.fixture(scope="module")
def reference(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What local files come to."""
    folder = tmp_path_factory.mktemp("local")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        jobs = {name: submit(client, f"{folder}/*.parquet", name) for name in ("long", "short")}
        return {name: completed(job) for name, job in jobs.items()}


@pytest.fixture(scope="module")
def store(files: dict[str, bytes]) -> Iterator[Objects]:
    with objects_server() as server:
        fill(server, files)
        server.make_bucket("kept")
        yield server


@pytest.fixture(scope="module")
def line(store: Objects) -> Iterator[Proxy]:
    """The only way to the storage for whatever the tests start."""
    with proxy_to(store.address) as proxy, pytest.MonkeyPatch.context() as environment:
        told(environment, proxy.address)
        yield proxy


@pytest.fixture
def way(line: Proxy) -> Iterator[Proxy]:
    """It, whole before and after each test."""
    yield line
    line.mend()


@pytest.fixture(scope="module")
def cluster(line: Proxy) -> Iterator[LocalCluster]:
    """One that keeps everything in a bucket."""
    kept = {
        "GRADLOOM_CHECKPOINT_URI": "s3://kept/checkpoints",
        "GRADLOOM_UPLOAD_URI": "s3://kept/uploads",
        "GRADLOOM_CHECKPOINT_EVERY": "0.1",
    }
    with LocalCluster(workers=2, environment=kept) as running:
        yield running


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address) as one:  # it sends what is in memory to the coordinator
        yield one


def fill(server: Objects, files: dict[str, bytes]) -> None:
    server.make_bucket("rows")
    for name, content in files.items():
        server.put(f"rows/allowed/{name}", content)


def told(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def submit(client: Client, data: str, length: str = "long") -> Job:
    settings = LONG if length == "long" else SHORT
    return client.submit("logistic", data=data, target="y", shards=SHARDS, seed=3, settings=settings)


def completed(job: Job) -> str:
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    return view.parameters_sha256


def failed(job: Job) -> str:
    view = job.wait(LIMIT_S)
    assert view.state is JobState.FAILED
    return view.reason


def until_round(events: Iterator[JobEvent], wanted: int) -> None:
    for event in events:
        if isinstance(event.what, RoundCompleted) and event.what.round >= wanted:
            return
    raise AssertionError(f"the job ended before round {wanted}")


def until_state(events: Iterator[JobEvent], state: JobState) -> str:
    for event in events:
        if isinstance(event.what, StateChanged) and event.what.state is state:
            return event.what.reason
    raise AssertionError(f"the job ended without being {state}")


def test_a_coordinator_that_is_killed_goes_on_from_checkpoints_in_a_bucket(
    store: Objects, way: Proxy, cluster: LocalCluster, client: Client, reference: dict[str, str]
) -> None:
    job = submit(client, DATA)
    events = job.watch()
    until_round(events, 30)
    until_durable(cluster, job, after_round=1)
    cluster.kill_coordinator()
    assert [name for name in store.names("kept") if name.startswith(f"checkpoints/{job.id}/round-")]
    cluster.restart_coordinator()
    said = [event.what.text for event in events if isinstance(event.what, Note)]
    assert any(text.startswith("the coordinator came back; goes on from round") for text in said)
    assert completed(job) == reference["long"]
    until(lambda: not store.names("kept"), "its checkpoints go with the job")


def test_checkpoints_that_cannot_be_written_pause_the_job_until_the_storage_is_back(
    way: Proxy, client: Client, reference: dict[str, str]
) -> None:
    job = submit(client, DATA)
    events = job.watch()
    until_round(events, 30)
    way.cut(refuse=True)
    reason = until_state(events, JobState.PAUSED)
    assert reason.startswith("no checkpoint can be written to s3://kept/checkpoints: ")
    way.mend()
    assert until_state(events, JobState.RUNNING) == "the checkpoints can be written to again"
    assert completed(job) == reference["long"]


def test_uploads_go_through_a_bucket_and_away_again(store: Objects, way: Proxy, client: Client) -> None:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((2000, 5))
    with client.upload(X, (X[:, 0] > 0).astype(float)) as sent:
        assert sent.uri.startswith("s3://kept/uploads/")
        assert completed(client.submit("logistic", data=sent.uri, target=sent.columns.target))
    until(lambda: not store.names("kept"), "the upload goes with the job")
    way.cut(refuse=True)
    with pytest.raises(Unavailable, match="the upload can't be written to s3://kept/uploads: "):
        client.upload(X, X[:, 0])


def test_what_is_wrong_with_a_place_is_one_sentence(
    store: Objects, way: Proxy, client: Client, files: dict[str, bytes]
) -> None:
    assert "no such file or directory" in failed(submit(client, "s3://rows/nothing.parquet"))
    assert "there is no bucket 'row'" in failed(submit(client, "s3://row/allowed/*.parquet"))
    assert "matches no file" in failed(submit(client, "s3://rows/forbidden/*.parquet"))
    store.put("rows/later/one.parquet", files["part-0.parquet"])
    first = completed(submit(client, "s3://rows/later/", "short"))
    store.put("rows/later/two.parquet", files["part-1.parquet"])
    assert completed(submit(client, "s3://rows/later/", "short")) != first, "a listing is not remembered"
    way.cut(refuse=True)
    assert "can't be read now: " in failed(submit(client, DATA))


def test_rows_that_cannot_be_read_are_waited_for_and_an_allow_list_holds(
    way: Proxy, reference: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADLOOM_CACHE_BYTES", "1")  # each round reads every shard anew
    with LocalCluster(workers=2, data_allow=["s3://rows/allowed"]) as cluster, cluster.client() as client:
        job = submit(client, DATA, "short")
        until_round(job.watch(), 1)
        way.cut(refuse=True)
        logs = [cluster.data_dir / "logs" / f"worker-{i}.log" for i in range(2)]
        until(
            lambda: any("can't be read now" in log.read_text() for log in logs), "a worker says why it waits"
        )
        assert job.view().state is JobState.RUNNING
        way.mend()
        assert completed(job) == reference["short"]
        for uri in ("s3://rows/other/x.parquet", "s3://rows/*.parquet", "s3://kept/x.parquet"):
            with pytest.raises(InvalidInput, match=r"allowed: s3://rows/allowed, .*\(--data-allow\)"):
                client.submit("logistic", data=uri, target="y").wait(LIMIT_S)


def test_a_misspelt_bucket_is_not_made(store: Objects, way: Proxy) -> None:
    kept = {"GRADLOOM_CHECKPOINT_URI": "s3://misspelt/checkpoints"}
    with LocalCluster(workers=1, environment=kept) as cluster, cluster.client() as client:
        job = submit(client, DATA)
        assert "bucket does not exist" in until_state(job.watch(), JobState.PAUSED)
        job.cancel()
    assert "misspelt" not in store.buckets()


def test_credentials_that_are_wrong_or_absent_are_named(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with objects_server(open_calls=1 + FILES) as strict:
        fill(strict, files)
        told(monkeypatch, strict.address)
        with LocalCluster(workers=1) as cluster, cluster.client() as client:
            reason = failed(submit(client, DATA))
            assert re.search(r"may not be read: .*; are its credentials right\?", reason)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        with LocalCluster(workers=1) as cluster, cluster.client() as client:
            assert "may not be read: this process has no credentials" in failed(submit(client, DATA))


def test_without_the_driver_the_extra_is_named_at_once(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / "s3fs.py").write_text("raise ModuleNotFoundError(\"No module named 's3fs'\")\n")
    folder = tmp_path / "empty"
    folder.mkdir()
    shell = Shell(folder, environment={"PYTHONPATH": str(absent)})
    done = shell.run("train", "logistic", "--data", "s3://rows/x.parquet", "--target", "y", "--workers", "1")
    assert done.status in (1, 2)
    said = " ".join(done.err.split())
    assert "s3:// needs s3fs, which is not installed here: pip install 'gradloom[s3]'" in said
    assert "Traceback" not in said
    assert json.dumps(said).count("needs s3fs") <= 2, "it is not tried again"
