"""Facts -> findings: each rule with what breaks it, and what it says is to be done."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gradloom.doctor.facts import (
    ClusterFact,
    Facts,
    Finding,
    Level,
    MachineFact,
    PackageFact,
    PortFact,
    PortState,
    StorageFact,
    TlsFact,
)
from gradloom.doctor.rules import findings, worst
from gradloom.jobs import WorkerRuntime, WorkerState, WorkerView

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNTIME = WorkerRuntime("3.12.1", "2.4.0", "1.85.1", "7.36.2", "openblas 0.3.30 Haswell", 1, 4096)
MACHINE = MachineFact("3.12.1", "Linux", 4.0, 4, 8 * 2**30, 6 * 2**30, RUNTIME)
TLS = TlsFact("admin", "gradloom authority", (), NOW + timedelta(days=80), "/certs/admin.key", 0o600)
STORAGE = StorageFact("--data-dir", "/data", free_bytes=50 * 2**30, bytes_per_s=2e8)
GOOD = Facts(NOW, "0.1.0", MACHINE, tls=TLS, storage=(STORAGE,))
GIB = 2**30


def worker(name: str = "w0", **changes: object) -> WorkerView:
    view = WorkerView(name, WorkerState.IDLE, "host", 1, 2.0, 4 * GIB, "0.1.0", 0.5, 0, 0, 0, 0.0, 9.0, "")
    return replace(view, **{"runtime": RUNTIME, "clock_offset_s": 0.01, **changes})  # type: ignore[arg-type]


CLUSTER = ClusterFact(
    "host:1", "", False, "0.1.0", 0.02, 0.01, 0.02, "ann", "admin", workers=(worker(), worker("w1"))
)


def wrong(facts: Facts) -> list[Finding]:
    return [one for one in findings(facts) if one.level is not Level.OK]


def on(**changes: object) -> Facts:
    """A good machine but for this."""
    return replace(GOOD, machine=replace(MACHINE, **changes))  # type: ignore[arg-type]


def at(**changes: object) -> Facts:
    """A good cluster but for this."""
    return replace(GOOD, cluster=replace(CLUSTER, **changes))  # type: ignore[arg-type]


def test_where_all_is_well_nothing_is_to_be_done() -> None:
    found = findings(replace(GOOD, cluster=CLUSTER, store=StorageFact("--store-url", "postgresql://db/x")))
    assert {one.level for one in found} == {Level.OK}
    assert not any(one.mend for one in found)
    assert {one.area for one in found} >= {
        "versions",
        "machine",
        "memory",
        "open files",
        "BLAS",
        "certificates",
        "storage",
        "cluster",
        "clocks",
        "workers",
    }
    assert worst(found) is Level.OK


def package(version: str, floor: str = "2.0", extra: str = "") -> Facts:
    return replace(GOOD, packages=(PackageFact("numpy", version, floor, extra),))


def port(state: PortState, needed: bool = False) -> Facts:
    return replace(GOOD, ports=(PortFact(50051, "coordinator", "--port", state, needed),))


def tls(**changes: object) -> Facts:
    return replace(GOOD, tls=replace(TLS, **changes))  # type: ignore[arg-type]


def storage(**changes: object) -> Facts:
    return replace(GOOD, storage=(replace(STORAGE, **changes),))  # type: ignore[arg-type]


CASES: dict[str, tuple[Facts, Level, str, str]] = {
    "python": (on(python="3.10.2"), Level.BAD, "Python 3.10.2 is older than 3.11", "use Python 3.11"),
    "missing": (package(""), Level.BAD, "numpy is not installed", "pip install"),
    "old": (package("1.26.4"), Level.BAD, "numpy 1.26.4 is older than 2.0", "pip install --upgrade"),
    "old-extra": (package("1.2", extra="worker"), Level.BAD, "is older than", "gradloom[worker]"),
    "little-memory": (on(available_bytes=100 * 2**20), Level.BAD, "100.0 MiB of 8.0 GiB", "--memory"),
    "less-memory": (on(available_bytes=500 * 2**20), Level.WARN, "500.0 MiB", "--cache-bytes"),
    "half-a-core": (on(cores=0.5), Level.WARN, "less than one core", "CPU limit"),
    "few-files": (on(runtime=replace(RUNTIME, open_files=64)), Level.BAD, "64 files", "ulimit -n"),
    "some-files": (on(runtime=replace(RUNTIME, open_files=512)), Level.WARN, "512 files", "ulimit -n"),
    "no-blas": (on(runtime=replace(RUNTIME, blas="")), Level.WARN, "can't be found out", "threadpoolctl"),
    "port": (
        port(PortState.TAKEN, needed=True),
        Level.BAD,
        "port 50051 .* taken by something else",
        "--port",
    ),
    "unneeded-port": (port(PortState.TAKEN), Level.WARN, "taken by something else", "ss -ltnp"),
    "forbidden-port": (port(PortState.FORBIDDEN), Level.WARN, "may not be listened on", "--port"),
    "expired": (tls(problem="tls_cert: x has expired"), Level.BAD, "has expired", "gradloom certs"),
    "over": (tls(valid_until=NOW - timedelta(1)), Level.BAD, "has expired", "gradloom certs renew"),
    "soon": (
        tls(valid_until=NOW + timedelta(days=3)),
        Level.WARN,
        "3.0 days are left",
        "gradloom certs renew",
    ),
    "key": (tls(key_mode=0o644), Level.WARN, r"others .* \(mode 644\)", "chmod 600 /certs/admin.key"),
    "both": (replace(GOOD, insecure=True), Level.WARN, "--insecure .* beside", "take it away"),
    "insecure": (replace(GOOD, tls=None, insecure=True), Level.WARN, "INSECURE", "gradloom certs init"),
    "unwritable": (storage(problem="Permission denied"), Level.BAD, "Permission denied", "--data-dir"),
    "full": (storage(free_bytes=2**20), Level.BAD, "only 1.0 MiB free", "make room"),
    "nearly-full": (storage(free_bytes=2**30), Level.WARN, "only 1.0 GiB free", "make room"),
    "slow-disk": (storage(bytes_per_s=1e6), Level.WARN, "writes 1 MB/s", "--checkpoint-every"),
    "database": (
        replace(GOOD, store=StorageFact("--store-url", "postgresql://db", "connection refused")),
        Level.BAD,
        "connection refused",
        "start the database",
    ),
    "away": (at(problem="host:1 can't be reached", away=True), Level.BAD, "can't be reached", "gradloom up"),
    "refused": (at(problem="plain text, and this side TLS"), Level.BAD, "this side TLS", "docs/tls.md"),
    "version": (
        at(version="0.2.0", workers=(worker(version="0.2.0"),)),
        Level.WARN,
        "runs gradloom 0.2.0",
        "==",
    ),
    "old-worker": (
        at(workers=(worker(version="0.0.9"),)),
        Level.BAD,
        "w0 on host runs gradloom 0.0.9",
        "0.1.0",
    ),
    "clock": (at(clock_offset_s=5.0), Level.WARN, "5.00 s ahead of this machine's", "NTP"),
    "clock-back": (at(clock_offset_s=-90.0), Level.BAD, "90.00 s behind", "NTP"),
    "worker-clock": (
        at(workers=(worker(clock_offset_s=-3.0),)),
        Level.WARN,
        "clock of w0 is 3.00 s behind",
        "NTP",
    ),
    "nobody": (at(workers=()), Level.WARN, "there are no workers", "gradloom-worker"),
    "silent": (at(workers=(worker(heartbeat_age_s=4.0),)), Level.WARN, "silent for 4.0 s", "gradloom why w0"),
    "slow-network": (at(round_trip_s=0.5), Level.WARN, "a question takes 500 ms", "network"),
    "threads": (
        at(workers=(worker(runtime=replace(RUNTIME, blas_threads=8)),)),
        Level.BAD,
        "w0 multiplies in 8 threads",
        "OPENBLAS_NUM_THREADS=1",
    ),
    "kernels": (
        at(workers=(worker(), worker("w1", runtime=replace(RUNTIME, blas="openblas 0.3.30 Zen")))),
        Level.WARN,
        "different kernels.*Haswell: w0; .*Zen: w1",
        "OPENBLAS_CORETYPE",
    ),
    "numpy": (
        at(workers=(worker(), worker("w1", runtime=replace(RUNTIME, numpy="2.1.0")))),
        Level.WARN,
        "different versions of numpy",
        "same numpy",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_named_with_how_to_mend_it(name: str) -> None:
    facts, level, what, mend = CASES[name]
    (found,) = wrong(facts)
    assert found.level is level
    assert re.search(what, found.what), found.what
    assert mend in found.mend
    assert worst(findings(facts)) is level


def test_an_answer_that_took_long_says_little_of_a_clock() -> None:
    assert wrong(at(clock_offset_s=3.0, offset_error_s=1.5)) == []
    assert wrong(at(clock_offset_s=None)) == []


def test_workers_that_share_a_machine_share_its_cores_and_memory() -> None:
    workers = (worker(), worker("w1"), worker("w2", host="other", cores=8.0))
    said = [one.what for one in findings(at(workers=workers)) if one.area == "workers"]
    assert any(what.startswith("3 workers: 10 cores, 8.0 GiB memory") for what in said), said


def test_words_are_right_for_one_thread_and_no_host() -> None:
    said = [one.what for one in findings(GOOD)]
    assert "openblas 0.3.30 Haswell, 1 thread here (a worker takes one)" in said
    assert "admin, issued by gradloom authority" in said


def test_an_extra_that_nobody_installed_is_not_missing() -> None:
    assert wrong(package("", extra="worker")) == []
    assert wrong(package("2.0rc1")) == []
    assert wrong(package("10.1")) == []
