"""Jobs whose checkpoints and models are encrypted on disk, and coordinators that are started with another key."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from builders.durable import until_durable
from gradloom import LocalCluster, load_model
from gradloom.client import Client, Job
from gradloom.errors import Unavailable, WrongKey
from gradloom.jobs import JobState
from gradloom.keys import new_key, parse_keys
from gradloom.sealing import is_sealed

pytestmark = pytest.mark.system

KEY, OTHER = new_key(), new_key()
RING, OTHER_RING = parse_keys(KEY, "test"), parse_keys(OTHER, "test")


@pytest.fixture
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("GRADLOOM_CHECKPOINT_EVERY", "0.1")
        yield changed


def submit(client: Client, data: Path) -> Job:
    settings = {"solver": "adam", "batch_size": 4096, "max_rounds": 150}
    return client.submit("logistic", data=str(data), target="60", shards=16, seed=3, settings=settings)


def checkpoints(cluster: LocalCluster, job: Job) -> list[Path]:
    return sorted((cluster.data_dir / "checkpoints" / job.id).glob("*.safetensors"))


def refused(cluster: LocalCluster) -> str:
    with pytest.raises(Unavailable) as why:
        cluster.restart_coordinator()
    return why.value.message


def test_a_job_goes_on_with_its_key_and_with_no_other(
    environment: pytest.MonkeyPatch, slow_data: Path, tmp_path: Path
) -> None:
    with LocalCluster(1) as cluster, cluster.client() as client:
        job = submit(client, slow_data)  # still without a key: what it writes is plain
        until_durable(cluster, job, 2)
        cluster.kill_coordinator()
        plain = int(checkpoints(cluster, job)[-1].name.split("-")[1].removesuffix(".safetensors"))
        environment.setenv("GRADLOOM_ENCRYPTION_KEY", KEY)
        cluster.restart_coordinator()
        until_durable(cluster, job, plain)
        cluster.kill_coordinator()
        assert is_sealed(checkpoints(cluster, job)[-1].read_bytes())

        environment.setenv("GRADLOOM_ENCRYPTION_KEY", OTHER)
        said = refused(cluster)
        assert f"encrypted with the key {RING}, and here are the keys {OTHER_RING}" in said
        environment.delenv("GRADLOOM_ENCRYPTION_KEY")
        assert "no key is given here" in refused(cluster)
        environment.setenv("GRADLOOM_ENCRYPTION_KEY_FILE", str(tmp_path / "keys"))
        (tmp_path / "keys").write_text(f"{OTHER}\n{KEY}\n")
        cluster.restart_coordinator()

        view = job.wait(60)
        assert view.state is JobState.COMPLETED, view.reason
        model = cluster.data_dir / "models" / f"{job.id}.safetensors"
        with pytest.raises(WrongKey):
            load_model(model, RING)
        assert load_model(model, OTHER_RING).parameters_sha256 == view.parameters_sha256
        assert job.model().parameters_sha256 == view.parameters_sha256
        for log in (cluster.data_dir / "logs").iterdir():
            assert KEY not in log.read_text()
            assert OTHER not in log.read_text()


def test_a_damaged_newest_checkpoint_still_falls_back_to_the_one_before(
    environment: pytest.MonkeyPatch, slow_data: Path
) -> None:
    environment.setenv("GRADLOOM_ENCRYPTION_KEY", KEY)
    with LocalCluster(1) as cluster, cluster.client() as client:
        job = submit(client, slow_data)
        until_durable(cluster, job, 5)
        cluster.kill_coordinator()
        *_, newest = checkpoints(cluster, job)
        newest.write_bytes(newest.read_bytes()[:-1])
        cluster.restart_coordinator()
        view = job.wait(60)
        assert view.state is JobState.COMPLETED, view.reason
        said = [event.what.text for event in job.history() if hasattr(event.what, "text")]
        assert any("can't be used: it is damaged, cut short or changed" in text for text in said)


def test_a_key_that_is_none_does_not_start(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GRADLOOM_ENCRYPTION_KEY", "a secret that is no key")
    with pytest.raises(Unavailable, match="GRADLOOM_ENCRYPTION_KEY: line 1 is no key of 32 bytes") as why:
        LocalCluster(1).start()
    assert "a secret" not in why.value.message
