"""Tokens and certificates on a real cluster: who may do what, for how long, and what is written down of it."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders.certificates import cluster_tls, issued
from builders.durable import until
from builders.guarded import START_LIMIT_S, GuardedCluster, guarded
from builders.shell import Done, Shell
from gradloom import LocalCluster
from gradloom.client import Client
from gradloom.errors import GradloomError, NotAllowed, Unauthenticated
from gradloom.roles import Role

pytestmark = pytest.mark.system

NAMES = {"vera": Role.VIEWER, "otto": Role.OPERATOR, "ada": Role.ADMIN, "crew": Role.WORKER}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedCluster]:
    """A coordinator with tokens and one worker."""
    with guarded(tmp_path_factory.mktemp("guarded")) as made:
        files = {name: made.token(name, role) for name, role in NAMES.items()}
        made.start()
        made.worker("worker-0", files["crew"]).announced(START_LIMIT_S)
        yield made


@pytest.fixture
def says(cluster: GuardedCluster, shell: Shell):
    """``says("vera", "jobs")``: a command in somebody's name."""

    def run(name: str, *words: object) -> Done:
        token = ("--token-file", cluster.folder / f"{name}.token") if name else ()
        return shell.run(*words, "--cluster", cluster.address, *token)

    return run


def test_an_operator_trains_a_viewer_looks_and_a_stranger_is_told_what_to_do(
    says, breast_cancer: Path
) -> None:
    trained = says("otto", "train", "logistic", "--data", breast_cancer, "--json")
    assert trained.status == 0, trained.err
    job = json.loads(trained.out)["job_id"]
    assert job in says("vera", "jobs").out
    for command in (("cancel", job), ("pause", job), ("note", job, "hm"), ("drain", "worker-0")):
        refused = says("vera", *command)
        assert refused.status == 1
        assert "needs the role operator; 'vera' has the role viewer (by its token)" in refused.err
    stranger = says("", "jobs")
    assert stranger.status == 1
    assert "this cluster wants a token: set GRADLOOM_TOKEN or GRADLOOM_TOKEN_FILE" in stranger.err
    as_json = says("vera", "pause", job, "--json")
    assert json.loads(as_json.out)["error"]["kind"] == "NotAllowed"


def test_everybody_can_ask_who_they_are(says) -> None:
    assert says("otto", "whoami").out == "otto (role operator), by token\n"
    me = json.loads(says("crew", "whoami", "--json").out)
    assert me == {"name": "crew", "role": "worker", "how": "token", "expires": None}


def test_an_admin_reads_who_did_what(says, cluster: GuardedCluster, breast_cancer: Path) -> None:
    with cluster.client("otto") as otto:
        job = otto.submit("logistic", data=str(breast_cancer))
        job.wait(timeout_s=60)
    with cluster.client("vera") as vera, pytest.raises(NotAllowed):
        vera.exclude("worker-0", "because")
    assert says("otto", "audit").status == 1
    found = json.loads(says("ada", "audit", "--last", "1000", "--json").out)
    (submitted,) = [entry for entry in found if entry["subject"] == job.id]
    assert (submitted["who"], submitted["role"], submitted["how"]) == ("otto", "operator", "token")
    assert (submitted["method"], submitted["result"]) == ("SubmitJob", "ok")
    assert submitted["fields"]["spec.algorithm"] == "logistic"
    refused = found[-1]
    assert refused["at"].endswith("+00:00")
    assert (refused["who"], refused["method"], refused["result"]) == ("vera", "ExcludeWorker", "NotAllowed")
    assert "SubmitJob" in says("ada", "audit").out


@pytest.mark.parametrize("name", ["vera", "ada", ""])
def test_a_worker_that_may_not_be_one_leaves_at_once_and_says_why(cluster: GuardedCluster, name: str) -> None:
    token = cluster.folder / f"{name}.token" if name else None
    child = cluster.worker(f"worker-of-{name or 'nobody'}", token)
    assert child.process.wait(START_LIMIT_S) == 2
    last = child.last_words()
    assert ("Session needs the role worker" if name else "this cluster wants a token") in last


def test_a_worker_does_not_get_the_name_of_another_ones(says, cluster: GuardedCluster) -> None:
    token = cluster.token("impostor", Role.WORKER)
    until(lambda: is_known(cluster, "impostor"), "the new token counts")
    child = cluster.worker("worker-0", token, log="impostor")
    assert child.process.wait(START_LIMIT_S) == 2
    words = "the name 'worker-0' belongs to a worker of 'crew', and 'impostor' can't take it"
    assert words in child.last_words()
    last = json.loads(says("ada", "audit", "--last", "1", "--json").out)[-1]
    assert (last["who"], last["method"], last["result"]) == ("impostor", "Session", "NotAllowed")
    assert words in last["detail"]


def is_known(cluster: GuardedCluster, name: str) -> bool:
    with cluster.client(name) as client:
        try:
            client.whoami()
        except Unauthenticated:
            return False
    return True


def test_a_revoked_token_is_refused_within_seconds(says, cluster: GuardedCluster) -> None:
    cluster.token("eve", Role.VIEWER)
    until(lambda: is_known(cluster, "eve"), "the new token counts")
    cluster.revoke("eve")
    until(lambda: not is_known(cluster, "eve"), "the revoked token counts no more")


def test_a_worker_whose_token_is_replaced_comes_back_with_the_new_one(cluster: GuardedCluster) -> None:
    token = cluster.token("temp", Role.WORKER)
    until(lambda: is_known(cluster, "temp"), "the new token counts")
    worker = cluster.worker("worker-temp", token)
    worker.announced(START_LIMIT_S)
    cluster.revoke("temp")
    until(lambda: "is not known to this cluster" in cluster.log("worker-temp"), "the worker is refused")
    assert worker.process.poll() is None
    cluster.token("temp", Role.WORKER)

    def is_back() -> bool:
        with cluster.client("vera") as client:
            return any(one.worker == "worker-temp" and one.state != "away" for one in client.workers())

    until(is_back, "it is back")


def test_refusals_and_commands_are_counted_by_role(cluster: GuardedCluster) -> None:
    with cluster.client("vera") as vera, pytest.raises(NotAllowed):
        vera.drain("worker-0")
    with urllib.request.urlopen(f"http://{cluster.metrics_address}/metrics", timeout=30) as page:
        lines = dict(line.rsplit(" ", 1) for line in page.read().decode().splitlines() if line[0] != "#")
    assert float(lines['gradloom_auth_failures_total{reason="role"}']) >= 1
    assert 'gradloom_control_commands_total{command="SubmitJob",result="ok",role="operator"}' in lines


def test_no_token_is_in_a_log_a_command_line_or_the_audit_log(says, cluster: GuardedCluster) -> None:
    says("vera", "cancel", "job-1")
    written = "".join(path.read_text() for path in cluster.folder.glob("*.log"))
    written += (cluster.folder / "data" / "audit.jsonl").read_text() + cluster.tokens_file.read_text()
    for child in cluster.children:
        if child.process.poll() is None:
            written += Path(f"/proc/{child.process.pid}/cmdline").read_text()
    assert "refused CancelJob" in written
    for name in NAMES:
        assert cluster.text(name).removeprefix("gradloom_") not in written


def test_a_coordinator_does_not_start_on_a_broken_file_of_tokens(tmp_path: Path) -> None:
    with guarded(tmp_path) as made:
        made.tokens_file.write_text('{"version": 1, "tokens": [{}]}')
        child = made.child(
            "coordinator", "gradloom_coordinator", ["--port", "0", "--tokens-file", str(made.tokens_file)]
        )
        assert child.process.wait(START_LIMIT_S) == 2
        assert "token 0: its 'name' is missing or not allowed" in child.last_words()
        assert not (tmp_path / "data").exists()


# ---- with certificates


def refusal(client: Client, data: Path) -> GradloomError | None:
    """How a job is refused; None = it is not."""
    with client:
        try:
            client.submit("logistic", data=str(data))
        except GradloomError as error:
            return error
    return None


def test_a_certificate_lets_do_what_its_role_may(tmp_path: Path, breast_cancer: Path) -> None:
    tls = cluster_tls(tmp_path / "certs")
    with LocalCluster(1, tls=tls, data_dir=tmp_path / "data", durable=False) as cluster:
        otto = issued(tmp_path / "certs", "otto", "operator")
        vera = issued(tmp_path / "certs", "vera", "viewer")
        assert refusal(Client(cluster.address, tls=otto), breast_cancer) is None
        for files, words in (
            (vera, "SubmitJob needs the role operator; 'vera' has the role viewer (by its certificate)"),
            (
                tls.worker,
                "SubmitJob needs the role operator; 'worker' has the role worker (by its certificate)",
            ),
            (
                tls.coordinator,
                "SubmitJob needs the role operator; 'coordinator' has no role (by its certificate)",
            ),
        ):
            found = refusal(Client(cluster.address, tls=files), breast_cancer)
            assert isinstance(found, NotAllowed)
            assert found.message == words
        with Client(cluster.address, tls=tls.client, user="the boss") as client:
            assert client.whoami().name == "admin"
            assert [entry.who for entry in client.audit()] == ["otto", "vera", "worker", "coordinator"]
        with guarded(tmp_path) as others:
            others.address = cluster.address
            child = others.worker("impostor", tls=otto)
            assert child.process.wait(START_LIMIT_S) == 2
            assert "Session needs the role worker; 'otto' has the role operator" in child.last_words()


def test_with_both_a_call_needs_the_leave_of_both(tmp_path: Path, breast_cancer: Path) -> None:
    tls = cluster_tls(tmp_path / "certs")
    with guarded(tmp_path) as cluster:
        for name, role in NAMES.items():
            cluster.token(name, role)
        cluster.start(tls.coordinator)
        vera_card = issued(tmp_path / "certs", "vera-card", "viewer")
        nameless = issued(tmp_path / "certs", "door", "coordinator")  # a certificate of no caller's role
        with cluster.client("otto", tls.client) as client:
            me = client.whoami()
            assert (me.name, me.role, me.how) == ("otto", "operator", "both")
        with cluster.client("otto", nameless) as client:
            assert client.whoami().role == "operator"
        for name, files in (("otto", vera_card), ("vera", tls.client), ("ada", tls.worker)):
            assert isinstance(refusal(cluster.client(name, files), breast_cancer), NotAllowed), name
        stranger = Client(cluster.address, token="gradloom_" + "x" * 43, tls=tls.client)
        with stranger, pytest.raises(Unauthenticated, match="not known to this cluster"):
            stranger.jobs()
        with cluster.client("", tls.client) as client:  # a certificate alone
            assert client.whoami().how == "certificate"
