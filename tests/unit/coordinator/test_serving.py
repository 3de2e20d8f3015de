"""Answers from models: read once, kept within limits, and what can't be read is tried again."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from gradloom.errors import InvalidInput, ModelFileError, NotFound, Overloaded
from gradloom.models import Linear, Model
from gradloom.nearest.answers import Predictions, Question
from gradloom.specs import DataSpec, JobSpec
from gradloom_coordinator import serving
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.serving import MAX_QUERY_ROWS, ModelShelf, Serving


def saved(folder: Path, name: str) -> Path:
    path = folder / f"{name}.safetensors"
    model = Linear(
        algorithm="linear",
        version=1,
        features=("a", "b"),
        target="y",
        classes=None,
        coefficients=np.array([1.0, 2.0]),
        intercept=np.array(0.5),
    )
    model.save(path)
    return path


async def test_a_model_is_read_once(tmp_path: Path) -> None:
    shelf, path = ModelShelf(), saved(tmp_path, "a")
    first = await shelf.model("a", path)
    path.unlink()
    assert await shelf.model("a", path) is first
    shelf.forget("a")
    with pytest.raises(NotFound):
        await shelf.model("a", path)


async def test_those_that_were_asked_longest_ago_are_put_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MODELS_AT_HAND", 2)
    shelf = ModelShelf()
    paths = {name: saved(tmp_path, name) for name in "abc"}
    a, b = await shelf.model("a", paths["a"]), await shelf.model("b", paths["b"])
    assert await shelf.model("a", paths["a"]) is a
    await shelf.model("c", paths["c"])  # b is the one that was asked longest ago
    assert await shelf.model("a", paths["a"]) is a
    assert await shelf.model("b", paths["b"]) is not b


async def test_one_model_is_kept_however_large_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MODEL_BYTES_AT_HAND", 1)
    shelf, path = ModelShelf(), saved(tmp_path, "a")
    assert await shelf.model("a", path) is await shelf.model("a", path)


async def test_a_file_that_can_not_be_read_is_tried_again(tmp_path: Path) -> None:
    shelf, path = ModelShelf(), tmp_path / "a.safetensors"
    path.write_bytes(b"half a model")
    with pytest.raises(ModelFileError):
        await shelf.model("a", path)
    saved(tmp_path, "a")
    assert (await shelf.model("a", path)).features == ("a", "b")


async def test_a_load_that_fails_when_nobody_waits_any_more_harms_no_other_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_fail, load = threading.Event(), serving.load_model

    def slow(path: Path) -> Model:
        may_fail.wait(20)
        return load(path)

    shelf, path = ModelShelf(), saved(tmp_path, "b")
    monkeypatch.setattr(serving, "load_model", slow)
    asker = asyncio.create_task(shelf.model("a", tmp_path / "nothing"))
    await asyncio.sleep(0)
    loading = shelf._models["a"]
    await asyncio.sleep(0)  # it is in its thread now
    asker.cancel()
    may_fail.set()
    await asyncio.wait((loading,))
    assert (await shelf.model("b", path)).features == ("a", "b")
    assert list(shelf._models) == ["b"]


async def test_rows_that_wait_for_answers_from_models_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MODEL_QUERY_BYTES", 100)
    shelf, path, X = ModelShelf(), saved(tmp_path, "a"), np.ones((4, 2))
    first = asyncio.create_task(shelf.answer("a", path, Question(), X))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="64 bytes of rows wait"):
        await shelf.answer("a", path, Question(), X)
    answer = await first
    assert isinstance(answer, Predictions)
    np.testing.assert_array_equal(answer.values, [3.5] * 4)
    await shelf.answer("a", path, Question(), np.ones((40, 2)))  # alone it may be larger
    with pytest.raises(InvalidInput):
        await shelf.answer("a", path, Question(), np.ones((4, 3)))
    assert shelf._waiting_bytes == 0


async def test_a_query_of_too_many_rows_is_refused() -> None:
    run = JobRun("job", JobSpec("linear", DataSpec(("data.csv",), "y")), Journal(), 0.0)
    table = Serving(lambda _: None, lambda _: None)
    with pytest.raises(InvalidInput, match=rf"X: has {MAX_QUERY_ROWS + 1} rows.*ask in parts"):
        await table.query(run, Question(), np.zeros((MAX_QUERY_ROWS + 1, 1)), 1.0)
