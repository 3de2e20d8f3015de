"""``gradloom doctor`` on real machines and clusters: well ones, and ones with something broken."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builders.certificates import cluster_tls, folder_of, now
from builders.durable import until
from builders.shell import Shell
from gradloom import LocalCluster

pytestmark = pytest.mark.system

FILES = {"CA": "ca.pem", "CERT": "admin.pem", "KEY": "admin.key"}
OLD_WORKER = """
import gradloom
gradloom.__version__ = "0.0.9"
from gradloom_worker.__main__ import main
main()
"""


def examined(shell: Shell, *words: object, status: int) -> list[dict[str, str]]:
    done = shell.run("doctor", *words, "--json")
    assert done.status == status, (done.out, done.err)
    found: list[dict[str, str]] = json.loads(done.out)
    return found


def bad(found: list[dict[str, str]]) -> list[str]:
    return [one["what"] for one in found if one["level"] == "bad"]


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_cluster_that_is_well_is_found_to_be(
    cluster: LocalCluster, shell: Shell, unused_tcp_port: int
) -> None:
    port = cluster.address.rpartition(":")[2]
    found = examined(
        shell,
        *("--cluster", cluster.address, "--port", unused_tcp_port, "--port", port),
        *("--data-dir", cluster.data_dir, "--checkpoint-uri", f"{cluster.data_dir}/not/there/yet"),
        *("--store-url", f"sqlite:///{cluster.data_dir}/gradloom.db", "--upload-uri", "memory://uploads"),
        status=0,
    )
    assert bad(found) == []
    assert all(one["mend"] for one in found if one["level"] == "warn")
    said = {
        area: [one["what"] for one in found if one["area"] == area] for area in {one["area"] for one in found}
    }
    assert f"port {port} (asked for): gradloom answers there" in said["ports"]
    assert f"port {unused_tcp_port} (asked for) is free" in said["ports"]
    assert "the clocks of 2 workers agree with the coordinator's" in said["clocks"]
    assert any("2 workers: " in what and "blas" in what for what in said["workers"])
    assert len(said["storage"]) == 4
    assert not list(cluster.data_dir.glob(".gradloom-doctor*")), "what it wrote is gone"


def test_ports_that_speak_tls_are_ours_whether_the_cluster_is_named_or_not(tmp_path: Path) -> None:
    tls = cluster_tls(tmp_path / "certs")
    shell = Shell(
        tmp_path,
        environment={f"GRADLOOM_TLS_{kind}": str(tmp_path / "certs" / name) for kind, name in FILES.items()},
    )
    with LocalCluster(workers=1, tls=tls) as cluster:
        port = cluster.address.rpartition(":")[2]
        for named in ((), ("--cluster", f"localhost:{port}")):
            found = examined(shell, "--port", port, *named, status=0)
            assert f"port {port} (asked for): gradloom answers there" in [one["what"] for one in found]


def test_a_database_of_another_kind_is_an_option_that_means_nothing(shell: Shell) -> None:
    done = shell.run("doctor", "--store-url", "mysql://x")
    assert done.status == 2
    assert "sqlite:///FILE and postgresql://USER@HOST/DATABASE are" in done.err


def test_what_is_broken_is_named_each_with_how_to_mend_it(
    tmp_path: Path,
) -> None:
    certs = folder_of(tmp_path / "certs", at=now() - timedelta(days=200))
    (tmp_path / "file").write_text("in the way")
    environment = {f"GRADLOOM_TLS_{kind}": str(certs / name) for kind, name in FILES.items()}
    (tmp_path / "empty").mkdir()
    shell = Shell(tmp_path / "empty", environment=environment)
    with taken_port() as port:
        found = examined(shell, "--port", port, "--data-dir", tmp_path / "file" / "data", status=1)
    said = bad(found)
    assert any(f"port {port} (asked for) is taken by something else" in what for what in said)
    assert any("admin.pem has expired" in what for what in said)
    assert any("data can't be written to" in what for what in said)
    assert len(said) == 3
    assert all(one["mend"] for one in found if one["level"] == "bad")


def test_a_worker_of_another_release_is_named(shell: Shell) -> None:
    with LocalCluster(workers=1) as cluster, old_worker(cluster.address):
        with cluster.client() as client:
            until(lambda: len(client.workers()) == 2, "it has joined")
        (what,) = bad(examined(shell, "--cluster", cluster.address, status=1))
        assert what.startswith("old on ")
        assert "runs gradloom 0.0.9, the coordinator 0.1.0" in what


@contextmanager
def old_worker(address: str) -> "Iterator[subprocess.Popen[Any]]":
    arguments = ["--coordinator", address, "--name", "old", "--metrics-port", "-1"]
    with subprocess.Popen(
        [sys.executable, "-c", OLD_WORKER, *arguments], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_people_read_a_table_that_ends_with_the_sum(shell: Shell, unused_tcp_port: int) -> None:
    done = shell.run("doctor", "--cluster", f"localhost:{unused_tcp_port}", "--port", unused_tcp_port)
    assert done.status == 1
    assert "can't be reached" in done.out
    assert "-> start it (gradloom up" in done.out
    assert "1 bad, " in done.out.splitlines()[-1]
