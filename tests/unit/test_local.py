"""Starting, stopping and losing the processes of a local cluster, with stand-ins for the services."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import gradloom
from gradloom import children
from gradloom.errors import Conflict, InvalidInput, Unavailable
from gradloom.local import MAX_LOCAL_WORKERS, LocalCluster

STAND_IN = """
import json, os, signal, sys
role = {role!r}
name = sys.argv[sys.argv.index("--name") + 1] if "--name" in sys.argv else role
assert "--announce" in sys.argv and "--exit-with-stdin" in sys.argv
script = json.loads(os.environ.get("STAND_IN_SCRIPT", "{{}}")).get(name, "serve")
sys.stderr.write(name + " was asked for " + " ".join(sys.argv[1:]) + "\\n")
sys.stderr.write("threads " + os.environ["OPENBLAS_NUM_THREADS"] + os.environ["OMP_NUM_THREADS"] + "\\n")
own = sorted(key + "=" + os.environ[key] for key in os.environ if key.startswith("GRADLOOM_"))
sys.stderr.write("told " + " ".join(own) + "\\n")
if script == "refuse":
    sys.stderr.write("error: port 50051 is taken\\n")
    sys.exit(2)
if script == "crash":
    raise RuntimeError("a bug in " + name)
if script == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if script != "silent":
    said = {{"worker": name}} if role == "worker" else {{"address": "127.0.0.1:7", "metrics_address": "0.0.0.0:8"}}
    print(json.dumps(said), flush=True)
if script == "chatty":
    print("x" * 1_000_000, flush=True)
    sys.stderr.write("said it all\\n")
sys.stdin.read()
"""


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """Modules with the names of the services; returns a function that sets what one of them does."""
    folder = tmp_path / "stand_ins"
    folder.mkdir()
    for role in ("coordinator", "worker"):
        (folder / f"gradloom_{role}.py").write_text(STAND_IN.format(role=role))
    library = Path(gradloom.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(library)]))

    def script(**roles):
        monkeypatch.setenv("STAND_IN_SCRIPT", json.dumps({k.replace("_", "-"): v for k, v in roles.items()}))

    return script


def assert_all_end(pids, timeout_s=20):
    alive = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, left = psutil.wait_procs(alive, timeout=timeout_s)
    assert left == []


def logs(cluster):
    return {log.stem: log.read_text() for log in (cluster.data_dir / "logs").iterdir()}


def test_everything_starts_is_described_and_stops(stand_ins, tmp_path):
    with LocalCluster(workers=3, port=1234, host="127.0.0.9", data_dir=tmp_path / "data") as cluster:
        assert cluster.address == "127.0.0.1:7"
        assert cluster.metrics_address == "127.0.0.1:8"
        assert cluster.coordinator.poll() is None
        assert [worker.poll() for worker in cluster.workers] == [None, None, None]
        pids = [cluster.coordinator.pid, *(worker.pid for worker in cluster.workers)]
    assert_all_end(pids, timeout_s=0)
    said = logs(cluster)
    assert set(said) == {"coordinator", "worker-0", "worker-1", "worker-2"}
    assert "--host 127.0.0.9 --port 1234 --metrics-port 0 --data-dir" in said["coordinator"]
    assert "--coordinator 127.0.0.1:7 --name worker-2 --metrics-port 0" in said["worker-2"]
    assert "threads 11" in said["worker-0"]


def test_children_are_told_what_tunes_them_and_not_what_names_another_cluster(stand_ins, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GRADLOOM_")]:
        monkeypatch.delenv(name)
    for name in (
        "STORE_URL",
        "STORE_PASSWORD_FILE",
        "LEASE",
        "DATA_ALLOW",
        "HEALTH_PORT",
        "TOKENS_FILE",
        "TLS_CA",
    ):
        monkeypatch.setenv(f"GRADLOOM_{name}", "x")
    monkeypatch.setenv("GRADLOOM_CHECKPOINT_EVERY", "3")
    monkeypatch.setenv("GRADLOOM_ENCRYPTION_KEY", "k")
    with LocalCluster(workers=1, environment={"GRADLOOM_STORE_URL": "mine"}) as cluster:
        said = logs(cluster)
    told = "told GRADLOOM_CHECKPOINT_EVERY=3 GRADLOOM_ENCRYPTION_KEY=k GRADLOOM_STORE_URL=mine"
    assert told in said["coordinator"].splitlines()
    assert told in said["worker-0"].splitlines()


def test_closing_twice_does_nothing_and_a_temporary_folder_goes(stand_ins):
    cluster = LocalCluster(workers=1).start()
    folder = cluster.data_dir
    assert (folder / "logs" / "worker-0.log").exists()
    cluster.close()
    cluster.close()
    assert not folder.exists()


def test_a_cluster_is_started_once(stand_ins):
    with LocalCluster(workers=1) as cluster, pytest.raises(Conflict, match="started already"):
        cluster.start()


@pytest.mark.parametrize("attribute", ["address", "metrics_address", "coordinator", "data_dir"])
def test_a_cluster_that_has_not_been_started_has_no_addresses(attribute):
    with pytest.raises(Conflict, match="not been started"):
        getattr(LocalCluster(workers=1), attribute)


def test_workers_can_be_added(stand_ins):
    with LocalCluster(workers=1) as cluster:
        added = cluster.add_worker()
        assert cluster.workers[1] is added
        assert added.poll() is None
        assert "--name worker-1 " in logs(cluster)["worker-1"]
    assert added.poll() is not None


def test_a_coordinator_can_be_killed_and_comes_back_at_the_same_address(stand_ins):
    with LocalCluster(workers=1) as cluster:
        first = cluster.coordinator
        cluster.kill_coordinator()
        assert first.returncode == -signal.SIGKILL
        cluster.restart_coordinator()
        assert cluster.coordinator.pid != first.pid
        assert cluster.coordinator.poll() is None
        assert cluster.workers[0].poll() is None
        assert "--port 7 --metrics-port 8 " in logs(cluster)["coordinator"].splitlines()[-3]
    assert cluster.coordinator.poll() is not None


def test_a_coordinator_that_refuses_to_start_gives_its_sentence(stand_ins):
    stand_ins(coordinator="refuse")
    with pytest.raises(Unavailable, match=r"^coordinator did not start: port 50051 is taken$"):
        LocalCluster(workers=1).start()


def test_a_worker_that_crashes_at_the_start_shows_its_last_lines_and_takes_the_rest_along(stand_ins):
    stand_ins(worker_1="crash")
    cluster = LocalCluster(workers=2)
    with pytest.raises(Unavailable, match=r"worker-1 did not start: (.|\n)*RuntimeError: a bug in worker-1"):
        cluster.start()
    assert_all_end([cluster.coordinator.pid, *(worker.pid for worker in cluster.workers)], timeout_s=0)


def test_only_lines_of_this_run_are_shown(stand_ins, tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "coordinator.log").write_text("an old story\n")
    stand_ins(coordinator="crash")
    with pytest.raises(Unavailable) as refused:
        LocalCluster(workers=1, data_dir=tmp_path).start()
    assert "a bug in coordinator" in refused.value.message
    assert "an old story" not in refused.value.message
    assert (tmp_path / "logs" / "coordinator.log").read_text().startswith("an old story\n")


def test_starting_has_a_limit(stand_ins):
    stand_ins(worker_0="silent")
    with pytest.raises(Unavailable, match="worker-0 was not ready within start_timeout_s"):
        LocalCluster(workers=1, start_timeout_s=1.0).start()


def test_a_child_that_ignores_sigterm_is_killed(stand_ins, monkeypatch):
    monkeypatch.setattr(children, "STOP_LIMIT_S", 0.3)
    stand_ins(worker_0="stubborn")
    with LocalCluster(workers=2) as cluster:
        stubborn, polite = cluster.workers
    assert stubborn.returncode == -signal.SIGKILL
    assert polite.returncode == -signal.SIGTERM


def test_a_child_that_talks_a_lot_is_not_held_up(stand_ins):
    stand_ins(worker_0="chatty")
    with LocalCluster(workers=1) as cluster:
        cluster.workers[0].stdin.close()  # it ends at the end of its input, so only once all was taken
        assert cluster.wait_for_end(timeout_s=20) == "worker-0"
        assert cluster.last_words("worker-0").endswith("said it all")


def test_the_end_of_a_child_is_told_once_with_its_last_words(stand_ins):
    with LocalCluster(workers=2) as cluster:
        cluster.workers[1].kill()
        assert cluster.wait_for_end(timeout_s=20) == "worker-1"
        assert "worker-1 was asked for" in cluster.last_words("worker-1")
        assert cluster.wait_for_end(timeout_s=0.05) is None
        assert cluster.workers[0].poll() is None


PARENT = """
import json, sys
from gradloom.local import LocalCluster
with LocalCluster(workers=2) as cluster:
    print(json.dumps([cluster.coordinator.pid] + [w.pid for w in cluster.workers]), flush=True)
    sys.stdin.read()
"""


def test_children_of_a_killed_parent_leave_by_themselves(stand_ins):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        pids = json.loads(parent.stdout.readline())
        assert all(psutil.pid_exists(pid) for pid in pids)
        parent.kill()
    assert len(pids) == 3
    assert_all_end(pids)


def test_up_takes_from_options_and_the_environment_who_may_come_and_what_is_read(
    stand_ins, tmp_path, monkeypatch
):
    monkeypatch.setenv("GRADLOOM_INSECURE", "1")
    monkeypatch.setenv("GRADLOOM_DATA_ALLOW", "/else")
    words = ("--workers", "1", "--host", "0.0.0.0", "--data-allow", "/data,s3://rows/good")
    process, said = start_up(*words, "--data-dir", str(tmp_path))
    with process:
        process.terminate()
        process.communicate(timeout=30)
    assert said["metrics_address"] == "127.0.0.1:8"
    for log in ("coordinator", "worker-0"):
        wanted = "--data-allow /data,s3://rows/good --insecure"
        assert wanted in (tmp_path / "logs" / f"{log}.log").read_text()


def test_up_finds_its_certificates_by_the_environment(stand_ins, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADLOOM_CERTS", str(tmp_path / "mine"))
    process, _ = start_up("--workers", "1", "--data-dir", str(tmp_path))
    with process:
        process.terminate()
        process.communicate(timeout=30)
    wanted = f"--tls-cert {tmp_path / 'mine' / 'coordinator.pem'}"
    assert wanted in (tmp_path / "logs" / "coordinator.log").read_text()


def start_up(*options):
    command = [sys.executable, "-m", "gradloom.cli", "up", "--port", "0", "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return process, json.loads(process.stdout.readline())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_up_stops_everything_when_it_is_told_to(stand_ins, number):
    process, said = start_up("--workers", "2")
    with process:
        family = psutil.Process(process.pid).children()
        assert said == {**said, "address": "127.0.0.1:7", "metrics_address": "127.0.0.1:8", "workers": 2}
        assert len(family) == 3
        process.send_signal(number)
        _, complaints = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "stopped" in complaints
    assert_all_end([child.pid for child in family], timeout_s=0)


def test_up_says_that_a_worker_died_and_ends_when_the_coordinator_does(stand_ins):
    process, _ = start_up("--workers", "1")
    with process:
        family = {
            "worker" in " ".join(child.cmdline()): child for child in psutil.Process(process.pid).children()
        }
        family[True].kill()
        assert "worker-0 ended; the others go on" in process.stderr.readline()
        family[False].kill()
        out, complaints = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "error: the coordinator ended with status -9" in complaints
    assert json.loads(out)["error"]["kind"] == "GradloomError"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": MAX_LOCAL_WORKERS + 1}, "workers"),
        ({"port": -1}, "port"),
        ({"metrics_port": 70_000}, "metrics_port"),
    ],
    ids=str,
)
def test_sizes_out_of_bounds_are_refused_by_name(wrong, field):
    with pytest.raises(InvalidInput, match=rf"^{field}: {wrong[field]} is not allowed"):
        LocalCluster(**wrong)


def test_a_folder_that_cannot_be_made_is_refused(stand_ins, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="data_dir"):
        LocalCluster(workers=1, data_dir=tmp_path / "file" / "below").start()


def test_missing_packages_are_named_with_the_remedy(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "grpc_reflection" else find_spec(name)
    )
    with pytest.raises(Unavailable, match=r"needs grpc_reflection, .* pip install 'gradloom\[all\]'"):
        LocalCluster(workers=1).start()
