"""Checkpoints as files: safetensors under an fsspec URI, complete or not there, with a checksum of what they hold.

One folder a job, one file a checkpoint. On a local disk a file is written beside its place, flushed, and takes its
name in one step; an object store takes a whole object or none. Everything here blocks: it is called in threads.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gradloom.data.sources.opening import filesystem
from gradloom.data.sources.stores import check_bucket, is_object_store, write_object
from gradloom.errors import (
    DataError,
    GradloomError,
    InvalidInput,
    ModelFileError,
    SealBroken,
    Unavailable,
    WrongKey,
)
from gradloom.keys import NO_KEYS, Keyring
from gradloom.model_file import content, decode, encode
from gradloom.saved import Saved
from gradloom.schema import Schema
from gradloom.sealing import HEADER, is_sealed, key_of, opened
from gradloom.tensors import Array, Tensors, sha256
from gradloom.wire.keeping import schema_from_bytes, schema_to_bytes
from gradloom_coordinator.scheduling.events import JobId

KIND = "checkpoint"
SCHEMA = "schema"
STATE = "state."
TRAFFIC = "traffic."
CONTENT = ("round", "train_seconds", "train_rows", "values")
LATER_CONTENT = ("traffic",)
"""What older checkpoints lack."""


class CheckpointUnusable(GradloomError):
    """A checkpoint is missing, torn, or not what was written."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """All that a job goes on from."""

    round: int
    """Updates that the algorithm has done."""
    schema: Schema
    state: Saved
    train_seconds: float
    train_rows: int
    """Rows trained on, again in each round; with the seconds it makes the speed that people see."""
    traffic: Saved = field(default_factory=lambda: Saved({}, {}))
    """What the next messages to the workers depend on, and the ledger of those before."""


@dataclass(frozen=True, slots=True)
class Place:
    """A checkpoint that is written."""

    uri: str
    sha256: str
    byte_length: int


class Checkpoints:
    """The folder of all checkpoints. Raises InvalidInput for a URI that means nothing."""

    def __init__(self, uri: str, keys: Keyring = NO_KEYS) -> None:
        self._keys = keys
        try:
            self._fs, self._root = filesystem(uri)
        except DataError as error:
            why = error.problem.removeprefix("can't be opened: ")
            raise InvalidInput("checkpoint_uri", f"{uri!r} can't be used: {why}") from None

    def write(self, job: JobId, checkpoint: Checkpoint, epoch: int = 0) -> Place:
        """Write one; the same round of a job takes the same place. Raises what the file system does.

        ``epoch`` tells the coordinators of a database apart: one that another has followed overwrites nothing of its.
        """
        data, checksum = to_bytes(checkpoint)
        folder = self._folder(job)
        of_epoch = f"-{epoch}" if epoch else ""
        name = f"round-{checkpoint.round:09d}{of_epoch}.safetensors"
        write_object(self._fs, folder, name, content(data, self._keys))
        return Place(self._fs.unstrip_protocol(f"{folder}/{name}"), checksum, len(data))

    def read(self, uri: str, checksum: str) -> Checkpoint:
        """One that was written. Raises CheckpointUnusable, saying why, WrongKey, and whatever the file system does.

        A file is gone only where its folder or bucket is there: else the storage may be away, and the file with it.
        """
        fs, path = filesystem(uri)
        try:
            data = fs.cat_file(path)
        except FileNotFoundError:
            folder = path.rpartition("/")[0]
            check_bucket(fs, path, uri)
            if is_object_store(fs) or fs.isdir(folder):
                raise CheckpointUnusable("the file is gone") from None
            raise Unavailable(
                f"there is no folder {folder}; bring it back, or make an empty one to go on without"
            ) from None
        try:
            return from_bytes(opened(data, self._keys) if is_sealed(data) else data, checksum)
        except SealBroken as error:
            raise CheckpointUnusable(error.message) from error

    def check_key(self, uri: str) -> None:
        """Whether one can be read with the keys that are here, as far as that can be told now. Raises WrongKey."""
        fs, path = filesystem(uri)
        try:
            with fs.open(path, "rb") as file:
                start = file.read(HEADER.size)
            if is_sealed(start):
                key_of(start, self._keys)
        except WrongKey:
            raise
        except Exception:  # noqa: BLE001 - what is gone, away or damaged is for those who need it to say
            return

    def remove(self, uri: str) -> None:
        """Remove one; it may be gone already. Raises what the file system does."""
        path = _path(uri)
        if self._fs.exists(path):
            self._fs.rm_file(path)

    def remove_all(self, job: JobId) -> None:
        """Remove a job's folder, with whatever a crash has left in it. Raises what the file system does."""
        if self._fs.exists(self._folder(job)):
            self._fs.rm(self._folder(job), recursive=True)

    def jobs(self) -> set[JobId]:
        """Those of which there is a folder. Raises what the file system does."""
        if not self._fs.exists(self._root):
            return set()
        return {path.rstrip("/").rpartition("/")[2] for path in self._fs.ls(self._root, detail=False)}

    def _folder(self, job: JobId) -> str:
        return f"{self._root}/{job}"


def _path(uri: str) -> str:
    """Where it is within its file system."""
    return filesystem(uri)[1]


def to_bytes(checkpoint: Checkpoint) -> tuple[bytes, str]:
    """The file of a checkpoint, and the checksum of what it holds."""
    schema = np.frombuffer(schema_to_bytes(checkpoint.schema), dtype=np.uint8)
    arrays: dict[str, Array] = {STATE + name: array for name, array in checkpoint.state.arrays.items()}
    arrays |= {TRAFFIC + name: array for name, array in checkpoint.traffic.arrays.items()}
    arrays[SCHEMA] = schema
    header = {
        "round": checkpoint.round,
        "train_seconds": checkpoint.train_seconds.hex(),
        "train_rows": checkpoint.train_rows,
        "values": dict(checkpoint.state.values),
        "traffic": dict(checkpoint.traffic.values),
    }
    checksum = _checksum(header, arrays)
    return encode(KIND, {**header, "sha256": checksum}, arrays), checksum


def from_bytes(data: bytes, checksum: str) -> Checkpoint:
    """The checkpoint in a file. Raises CheckpointUnusable if it is not the one with this checksum."""
    try:
        file = decode(data)
    except (ModelFileError, ValueError, KeyError, TypeError) as error:
        raise CheckpointUnusable(f"it is torn or damaged: {error}") from error
    header = {name: file.header.get(name) for name in CONTENT}
    header |= {name: file.header[name] for name in LATER_CONTENT if name in file.header}
    if file.kind != KIND or _checksum(header, file.arrays) != checksum:
        raise CheckpointUnusable("its checksum is not the one that was written")
    # of our own: what is read lies in one buffer, which may be of any alignment and can't be written to
    arrays = {name: np.array(array) for name, array in file.arrays.items()}
    state, traffic = (
        {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
        for start in (STATE, TRAFFIC)
    )
    return Checkpoint(
        round=file.header["round"],
        schema=schema_from_bytes(arrays[SCHEMA].tobytes()),
        state=Saved(state, file.header["values"]),
        train_seconds=float.fromhex(file.header["train_seconds"]),
        train_rows=file.header["train_rows"],
        traffic=Saved(traffic, file.header.get("traffic", {})),
    )


def _checksum(header: Mapping[str, object], arrays: Tensors) -> str:
    text = json.dumps(header, sort_keys=True)
    return hashlib.sha256(f"{text}\n{sha256(arrays)}".encode()).hexdigest()
