"""Reading: a shard is read from the very file that was planned on, or not at all."""

from pathlib import Path

import numpy as np
import pytest

from builders.shards import read_shard
from gradloom.data.manifest import Manifest
from gradloom.data.planning import build_manifest
from gradloom.data.reading import check_fingerprints, iterate_raw
from gradloom.errors import DataError, ShardChanged


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "d.npy", np.arange(60.0).reshape(20, 3))
    return tmp_path / "d.npy"


@pytest.fixture
def manifest(path: Path) -> Manifest:
    return build_manifest([str(path)], target="2", n_shards=4)


def test_a_file_of_another_size_is_refused(path: Path, manifest: Manifest) -> None:
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(
        ShardChanged, match=r"d\.npy: changed since the job was planned: it has 612 bytes, it had 608"
    ):
        read_shard(manifest, 0)


def test_a_file_of_other_content_is_refused(path: Path, manifest: Manifest) -> None:
    np.save(path, np.arange(60.0).reshape(20, 3) + 1)
    with pytest.raises(
        ShardChanged, match=r"d\.npy: changed since the job was planned: its content is another"
    ):
        next(iterate_raw(manifest))


def test_a_file_that_is_gone_is_named(path: Path, manifest: Manifest) -> None:
    path.unlink()
    with pytest.raises(DataError, match=r"d\.npy: no such file"):
        check_fingerprints(manifest.files)


def test_the_same_content_elsewhere_has_the_same_fingerprint(
    path: Path, manifest: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "copy.npy").write_bytes(path.read_bytes())
    copy = build_manifest([str(tmp_path / "copy.npy")], target="2")
    assert copy.files[0].fingerprint == manifest.files[0].fingerprint


def test_only_the_files_of_the_shard_are_looked_at(path: Path, tmp_path: Path) -> None:
    (tmp_path / "e.npy").write_bytes(path.read_bytes())
    manifest = build_manifest([str(path), str(tmp_path / "e.npy")], target="2", n_shards=2)
    (tmp_path / "e.npy").unlink()
    assert len(read_shard(manifest, 0).X) == 20
    with pytest.raises(DataError, match=r"e\.npy: no such file"):
        read_shard(manifest, 1)
