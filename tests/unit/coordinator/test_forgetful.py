"""A coordinator that keeps nothing: no database, no checkpoints, and models only as long as their jobs are known."""

from pathlib import Path

import pytest

from gradloom.settings import CoordinatorSettings
from gradloom.specs import DataSpec, JobSpec
from gradloom_coordinator.durability.durable import go_on_where_it_ended
from gradloom_coordinator.runtime import Coordinator


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_nothing_is_opened_where_nothing_is_to_be_kept(tmp_path: Path) -> None:
    settings = CoordinatorSettings(data_dir=tmp_path, durable=False)
    durable = await go_on_where_it_ended(Coordinator(settings))
    assert (durable.store, durable.writer) == (None, None)
    assert names_in(tmp_path) == ["coordinator.lock"]
    await durable.close()


@pytest.mark.parametrize("durable", [True, False])
async def test_the_model_of_a_forgotten_job_stays_only_where_jobs_are_kept(
    tmp_path: Path, durable: bool
) -> None:
    coordinator = Coordinator(CoordinatorSettings(data_dir=tmp_path, durable=durable, max_ended_jobs=0))
    spec = JobSpec("linear", DataSpec(("nothing.npz",)))
    first = coordinator.jobs.add(spec, "")
    model = tmp_path / "models" / f"{first.job_id}.safetensors"
    model.parent.mkdir()
    model.write_bytes(b"a model")
    await coordinator.cancel(first.job_id, "enough")
    coordinator.jobs.add(spec, "")
    assert first.job_id not in coordinator.runs
    assert model.exists() is durable
