"""docker-compose.yml on a real engine: it comes up, trains, survives what happens to containers, and leaves nothing."""

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect, sync_playwright

from builders.browsing import CHROMIUM, LIMIT_MS, part
from builders.containers import LIMIT_S, SERVICES, Stack, docker, inspected, running, until
from gradloom import Client
from gradloom.client import Job
from gradloom.errors import InvalidInput
from gradloom.jobs import JobState, RoundCompleted, WorkerState

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]

STARTED = ("coordinator", "worker", "dashboard", "prometheus")
"""Not Grafana: nothing of ours runs in it, and what it reads has tests of its own."""
READY = {"coordinator": "serving at", "worker": "joined", "dashboard": "control room at"}
SLOW, STEP, ROUNDS = "slow.npy", 50, 400
SPARSE, TABLE = "sparse.svm", "table.parquet"
SETTINGS = {"solver": "gradient_descent", "tolerance": "0", "max_rounds": str(ROUNDS)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the containers see as /data: whoever they run as must be able to read it."""
    folder = tmp_path_factory.mktemp("mounted")
    folder.chmod(0o755)
    rng = np.random.default_rng(7)
    X = rng.standard_normal((200_000, 60))
    y = (X @ rng.standard_normal(60) + rng.standard_normal(len(X)) > 0).astype(float)
    np.save(folder / SLOW, np.column_stack([X, y]).astype(np.float32))
    few, labels = X[:2000, :4].round(3), y[:2000]
    rows = zip(labels, few, strict=True)
    (folder / SPARSE).write_text(
        "".join(f"{label:g} " + " ".join(f"{j}:{x}" for j, x in enumerate(row)) + "\n" for label, row in rows)
    )
    columns = {str(j): column for j, column in enumerate(few.T)}
    pq.write_table(pa.table({**columns, "late": labels}), folder / TABLE)
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


def logged(container: str) -> list[str]:
    """The lines that a container of ours has logged; they are all on stderr."""
    words = ["docker", "logs", container]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert not done.stdout
    return done.stderr.splitlines()


def took(stack: Stack, service: str, ready: str) -> float:
    """Seconds from a container's start to the line that says that it is ready."""
    container = stack.containers(service)[0]
    began = datetime.fromisoformat(inspected(container)[0]["State"]["StartedAt"][:26] + "+00:00")
    at = next(
        line["time"] for line in map(json.loads, logged(container)) if line["message"].startswith(ready)
    )
    return (datetime.fromisoformat(at) - began).total_seconds()


@pytest.fixture(scope="module")
def stack(images: dict[str, str], data: Path, figures: list[str]) -> Iterator[Stack]:
    start = time.monotonic()
    with running(services=STARTED, DATA=str(data), WORKERS="2") as up:
        figures.append(f"from compose up to everything healthy: {time.monotonic() - start:.1f} s")
        with Client(up.address) as client:
            one_round = {"max_rounds": 1}
            client.submit("logistic", data=f"/data/{SLOW}", target="60", settings=one_round).wait(LIMIT_S)
        figures.append(f"from compose up to the first job's end: {time.monotonic() - start:.1f} s")
        figures.extend(
            f"start of {service}: {took(up, service, words):.1f} s" for service, words in READY.items()
        )
        yield up


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.address) as one:
        yield one


@pytest.fixture(scope="module", autouse=True)
def reference(images: dict[str, str], stack: Stack, data: Path) -> Iterator[Callable[[], str]]:
    """The hash of the model that a local cluster trains with the same libraries and one worker, while others test."""
    words = ["run", "--detach", "--read-only", "--tmpfs", "/tmp", "--volume", f"{data}:/data:ro"]
    words += ["--env", "GRADLOOM_CLUSTER=", "--entrypoint", "gradloom", images["coordinator"]]
    options = ["--data", f"/data/{SLOW}", "--target", "60", "--shards", "16", "--workers", "1", "--json"]
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    one = docker(*words, "train", "logistic", *options, *settings).strip()

    def ended() -> str:
        status = docker("wait", one, limit_s=LIMIT_S * 2).strip()
        assert status == "0", docker("logs", one)
        return str(json.loads(docker("logs", one))["parameters_sha256"])

    yield ended
    docker("rm", "--force", one)


# ---- it comes up


@pytest.mark.parametrize("service", STARTED)
def test_everything_is_healthy(stack: Stack, service: str) -> None:
    found = inspected(*stack.containers(service))
    assert len(found) == (2 if service == "worker" else 1)
    for each in found:
        assert (each["State"]["Health"]["Status"], each["RestartCount"]) == ("healthy", 0)


@pytest.mark.parametrize("service", SERVICES)
def test_ours_may_do_as_little_as_possible(stack: Stack, service: str) -> None:
    host = inspected(*stack.containers(service))[0]["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert docker("exec", stack.containers(service)[0], "id", "--user").strip() == "10001"
    published = [binding["HostIp"] for bindings in host["PortBindings"].values() for binding in bindings]
    assert published == ([] if service == "worker" else ["127.0.0.1"])


def test_the_control_room_answers_on_this_machine(stack: Stack) -> None:
    with urllib.request.urlopen(f"http://localhost:{stack.ports['PUBLISH_DASHBOARD']}/", timeout=60) as page:
        assert "gradloom" in page.read().decode()


def test_prometheus_finds_the_coordinator_and_every_worker(stack: Stack) -> None:
    def up(job: str) -> int:
        return sum(int(series["value"][1]) for series in stack.asked(f'up{{job="{job}"}}'))

    until(
        lambda: (up("gradloom-coordinator"), up("gradloom-worker")) == (1, 2), "Prometheus sees all of them"
    )
    until(
        lambda: len(stack.asked("gradloom_worker_up == 1")) == 2, "the coordinator's own word of its workers"
    )


def test_prometheus_takes_all_rules(stack: Stack) -> None:
    groups = stack.prometheus("rules")["groups"]
    rules = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert "WorkerLost" in rules
    assert not [name for name, health in rules.items() if health == "err"]


def test_what_nobody_allowed_is_not_read(client: Client) -> None:
    with pytest.raises(
        InvalidInput, match="'/etc/passwd' is not below what this process may read; allowed: /data"
    ):
        client.submit("logistic", data="/etc/passwd", target="0").wait(LIMIT_S)


# ---- people use it


def test_people_submit_and_steer_a_job_in_its_control_room(stack: Stack, client: Client) -> None:
    """The image has few of the packages that a checkout has: every page is opened, and what changes a job is used."""
    room, errors = f"http://127.0.0.1:{stack.ports['PUBLISH_DASHBOARD']}", []
    path = shutil.which("chromium")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=path, args=CHROMIUM) as browser,
    ):
        page = browser.new_page()
        page.set_default_timeout(LIMIT_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{room}/new")
        part(page, "data").fill(f"/data/{TABLE}")
        for name, words in (("target", "late"), ("max_rounds", "90000"), ("tolerance", "0")):
            part(page, f"field-{name}").fill(words)
        part(page, "field-solver").click()
        page.get_by_role("option", name="adam").click()
        part(page, "submit").click()
        page.wait_for_url("**/jobs/logistic-*")
        expect(part(page, "state")).to_have_text("running")
        part(page, "set-learning_rate").fill("0.004")
        expect(part(page, "apply")).to_have_text("Apply 1 change")
        part(page, "apply").click()
        job = client.job(page.url.rpartition("/")[2])
        until(lambda: job.view().spec.settings.get("learning_rate") == "0.004", "the change is in force")
        page.goto(room)
        expect(page.get_by_text(job.id).first).to_be_visible()
        job.cancel("seen enough")
    assert not errors
    assert not [line for line in logged(*stack.containers("dashboard")) if '"level": "ERROR"' in line]


def test_sparse_text_is_clustered(client: Client) -> None:
    """With the format and the algorithm that need most of what an image has."""
    job = client.submit("kmeans", data=f"/data/{SPARSE}", settings={"n_clusters": "3"})
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason


# ---- it trains, whatever happens


def hosts(client: Client) -> set[str]:
    """The containers whose workers the coordinator counts on."""
    return {
        worker.host
        for worker in client.workers()
        if worker.state not in (WorkerState.SUSPECT, WorkerState.AWAY)
    }


def scaled(stack: Stack, client: Client, workers: int) -> None:
    stack.scale(workers)
    until(lambda: len(hosts(client)) == workers, f"{workers} workers")


def killed(stack: Stack, client: Client) -> None:
    """A worker, which comes back only when somebody starts it."""
    one, *others = stack.containers("worker")
    docker("kill", one)
    until(lambda: hosts(client) == {other[:12] for other in others}, "the killed worker is missed")
    docker("start", one)
    until(lambda: one[:12] in hosts(client), "the worker is back")


def frozen_and_cut_off(stack: Stack, client: Client) -> None:
    """One worker stands still and another has no network, for so long that nobody counts on either any more."""
    still, *others, alone = stack.containers("worker")
    network = f"{stack.project}_default"
    docker("pause", still)
    docker("network", "disconnect", network, alone)
    until(lambda: hosts(client) == {other[:12] for other in others}, "both are missed")
    docker("unpause", still)
    docker("network", "connect", network, alone)
    until(lambda: len(hosts(client)) == len(others) + 2, "both are back")


def beheaded(stack: Stack, client: Client) -> None:
    """The coordinator is killed and started."""
    (one,) = stack.containers("coordinator")
    before = hosts(client)
    docker("kill", one)
    docker("start", one)
    until(lambda: hosts(client) == before, "all workers are back")


def meanwhile(job: Job, disturb: Callable[[], None]) -> None:
    """Disturb a job that stands still otherwise, so that it can't end before the last disturbance."""
    until(lambda: job.view().state is JobState.PAUSED, "the job stands still")
    before = job.step(STEP).rounds
    until(lambda: job.view().rounds > before, "it goes on")
    disturb()


def test_the_same_bits_whatever_happens_to_containers(
    stack: Stack, client: Client, reference: Callable[[], str]
) -> None:
    job = client.submit("logistic", data=f"/data/{SLOW}", target="60", shards=16, settings=SETTINGS)
    next(event for event in job.watch(timeout_s=LIMIT_S) if isinstance(event.what, RoundCompleted))
    job.pause()
    disturbances: list[Callable[[], None]] = [
        lambda: scaled(stack, client, 5),
        lambda: scaled(stack, client, 1),
        lambda: scaled(stack, client, 3),
        lambda: killed(stack, client),
        lambda: frozen_and_cut_off(stack, client),
        lambda: beheaded(stack, client),
    ]
    for disturb in disturbances:
        meanwhile(job, disturb)
    until(lambda: job.view().state is JobState.PAUSED, "the job stands still")
    job.resume()
    view = job.wait(LIMIT_S)
    assert (view.state, view.rounds) == (JobState.COMPLETED, ROUNDS), view.reason
    assert view.parameters_sha256 == reference()


# ---- what it leaves behind


@pytest.mark.parametrize("service", SERVICES)
def test_every_line_that_is_logged_is_a_json_object(stack: Stack, service: str) -> None:
    for container in stack.containers(service):
        lines = logged(container)
        assert lines
        assert all({"time", "level", "logger", "message"} <= json.loads(line).keys() for line in lines)
