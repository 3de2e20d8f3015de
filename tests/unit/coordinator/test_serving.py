"""Answers from models: read once, kept within limits, and what can't be read is tried again."""

from pathlib import Path

import numpy as np
import pytest

from gradloom.errors import ModelFileError, NotFound
from gradloom.models import Linear
from gradloom_coordinator import serving
from gradloom_coordinator.serving import ModelShelf


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
