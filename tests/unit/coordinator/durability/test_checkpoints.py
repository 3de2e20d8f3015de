"""Checkpoints as files: whole or not there, and never believed without their checksum."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from gradloom.data.preparation import Preparation, Split
from gradloom.errors import InvalidInput, Unavailable, WrongKey
from gradloom.keys import NO_KEYS, Key, Keyring
from gradloom.saved import Saved
from gradloom.schema import Schema
from gradloom.sealing import is_sealed
from gradloom_coordinator.durability.checkpoints import (
    Checkpoint,
    Checkpoints,
    CheckpointUnusable,
    Place,
    from_bytes,
    to_bytes,
)

PREPARATION = Preparation(
    Split(7, 0.1, 0.2), "float32", ("no", "ja ß"), (0.1, -0.0), (1 / 3, 1e300), (0.5, 2.0)
)
SCHEMA = Schema(("a", "b"), "late", ("no", "ja ß"), 100, 10, 20, 99.7, PREPARATION)


def checkpoint(round_: int = 12, shift: float = 0.0) -> Checkpoint:
    arrays = {
        "optimizer.point": np.random.default_rng(0).standard_normal(1000) + shift,
        "counts": np.arange(6, dtype=np.int64).reshape(2, 3),
        "empty": np.zeros((0, 4)),
        "single": np.array(0.1),
    }
    state = Saved(arrays, {"loss": (0.1).hex(), "round": round_, "stalled": None})
    return Checkpoint(round_, SCHEMA, state, 0.1 + 0.2, 2**60)


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path / "checkpoints") if request.param == "local" else f"memory://{tmp_path.name}"
    MemoryFileSystem.store.clear()


def bytes_of(place: Place) -> bytes:
    with fsspec.open(place.uri, "rb") as file:
        return bytes(file.read())


def overwrite(place: Place, data: bytes) -> None:
    with fsspec.open(place.uri, "wb") as file:
        file.write(data)


def test_a_checkpoint_comes_back_to_the_bit(place: str) -> None:
    checkpoints, given = Checkpoints(place), checkpoint()
    written = checkpoints.write("job", given)
    back = Checkpoints(place).read(written.uri, written.sha256)
    assert (back.round, back.schema, back.train_seconds, back.train_rows) == (12, SCHEMA, 0.1 + 0.2, 2**60)
    assert back.state.values == given.state.values
    for name, array in given.state.arrays.items():
        assert back.state.arrays[name].tobytes() == array.tobytes()
        assert (back.state.arrays[name].dtype, back.state.arrays[name].shape) == (array.dtype, array.shape)
        assert back.state.arrays[name].flags.writeable


def test_the_same_state_gives_the_same_file_and_another_one_another(place: str) -> None:
    checkpoints = Checkpoints(place)
    one, again, other = (
        checkpoints.write(job, checkpoint(shift=s)) for job, s in (("a", 0.0), ("b", 0.0), ("a", 1.0))
    )
    assert one.sha256 == again.sha256 != other.sha256
    assert one.uri == other.uri, "a round of a job has one place"
    with pytest.raises(CheckpointUnusable, match="checksum"):
        checkpoints.read(one.uri, one.sha256)


@pytest.mark.parametrize("keep", [0, 7, 100, 1000, -1])
def test_a_torn_file_is_refused(place: str, keep: int) -> None:
    checkpoints = Checkpoints(place)
    written = checkpoints.write("job", checkpoint())
    overwrite(written, bytes_of(written)[:keep])
    with pytest.raises(CheckpointUnusable, match="torn or damaged"):
        checkpoints.read(written.uri, written.sha256)


def test_a_bit_that_has_flipped_is_noticed_wherever_it_is() -> None:
    data, checksum = to_bytes(checkpoint())
    rng = np.random.default_rng(3)
    for position in rng.integers(8, len(data), 200).tolist():
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        try:
            same = to_bytes(from_bytes(bytes(damaged), checksum))[0]
        except CheckpointUnusable:
            continue
        assert same == data, f"a flip in byte {position} was believed"


def test_a_file_that_is_gone_and_one_that_was_never_a_checkpoint_are_refused(place: str) -> None:
    checkpoints = Checkpoints(place)
    written = checkpoints.write("job", checkpoint())
    overwrite(written, b"something else altogether")
    with pytest.raises(CheckpointUnusable, match="torn or damaged"):
        checkpoints.read(written.uri, written.sha256)
    checkpoints.remove(written.uri)
    checkpoints.remove(written.uri)
    with pytest.raises(CheckpointUnusable, match="the file is gone"):
        checkpoints.read(written.uri, written.sha256)


def test_a_job_s_folder_goes_with_all_that_is_in_it_and_no_other_does(place: str) -> None:
    checkpoints = Checkpoints(place)
    mine, theirs = checkpoints.write("job", checkpoint()), checkpoints.write("job-2", checkpoint())
    checkpoints.remove_all("job")
    checkpoints.remove_all("job")
    with pytest.raises(Unavailable, match=r"there is no folder .*/job; bring it back"):
        checkpoints.read(mine.uri, mine.sha256)
    assert checkpoints.read(theirs.uri, theirs.sha256).round == 12


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(str(tmp_path))
    written = checkpoints.write("job", checkpoint())

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            checkpoints.write("job", checkpoint(shift=1.0))
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["round-000000012.safetensors"]
    assert checkpoints.read(written.uri, written.sha256).round == 12


def test_the_name_of_a_file_is_flushed_as_its_bytes_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    monkeypatch.setattr("os.fsync", lambda handle: flushed.append(Path(f"/proc/self/fd/{handle}").readlink()))
    Checkpoints(str(tmp_path)).write("job", checkpoint())
    assert [path.parent.name for path in flushed] == ["job", tmp_path.name]
    assert flushed[-1] == tmp_path / "job"


def test_a_uri_that_means_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"checkpoint_uri: 'nowhere://x' can't be used"):
        Checkpoints("nowhere://x")


# ---- encrypted ones

KEY, OTHER = Key(bytes(range(32))), Key(bytes(32))


def test_an_encrypted_checkpoint_comes_back_to_the_bit_and_shows_nothing(place: str) -> None:
    checkpoints, given = Checkpoints(place, Keyring((KEY,))), checkpoint()
    written = checkpoints.write("job", given)
    data = bytes_of(written)
    assert is_sealed(data)
    assert b"optimizer.point" not in data
    assert to_bytes(checkpoints.read(written.uri, written.sha256)) == to_bytes(given)


def test_plain_and_encrypted_ones_lie_side_by_side(place: str) -> None:
    plain = Checkpoints(place).write("job", checkpoint(1))
    keyed = Checkpoints(place, Keyring((OTHER, KEY)))
    hidden = Checkpoints(place, Keyring((KEY,))).write("job", checkpoint(2))
    for written, round_ in ((plain, 1), (hidden, 2)):
        assert keyed.read(written.uri, written.sha256).round == round_
        keyed.check_key(written.uri)


def test_a_wrong_key_is_no_damage(place: str) -> None:
    """Damage has an older checkpoint stand in; a wrong key would lose them all that way."""
    written = Checkpoints(place, Keyring((KEY,))).write("job", checkpoint())
    for keys in (NO_KEYS, Keyring((OTHER,))):
        checkpoints = Checkpoints(place, keys)
        with pytest.raises(WrongKey, match=KEY.id):
            checkpoints.check_key(written.uri)
        with pytest.raises(WrongKey, match=KEY.id):
            checkpoints.read(written.uri, written.sha256)
    right = Checkpoints(place, Keyring((KEY,)))
    for damaged in (
        bytes_of(written)[:-1],
        bytes_of(written)[:30],
        b"GLSEAL",
        bytes_of(written).replace(b"\x01", b"\x03"),
    ):
        overwrite(written, damaged)
        right.check_key("memory://not/there")
        with pytest.raises(CheckpointUnusable):
            right.read(written.uri, written.sha256)
