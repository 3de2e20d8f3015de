"""The model file: safetensors, whose one metadata entry is a JSON header. The same model gives the same bytes.

Only bytes, headers and arrays live here; what they mean is for ``gradloom.models``. Nothing is ever unpickled.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from gradloom.errors import ModelFileError, NotFound, SealBroken, WrongKey
from gradloom.keys import Keyring
from gradloom.sealing import is_sealed, opened, sealed

FORMAT_VERSION = 1
HEADER_KEY = "gradloom"
JsonScalar = str | float | int | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class ModelFile:
    """What a model file holds."""

    kind: str
    header: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def encode(kind: str, header: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a model file."""
    # One metadata entry only: safetensors writes several in no fixed order.
    text = json.dumps(
        {"format_version": FORMAT_VERSION, "kind": kind, **header}, sort_keys=True, allow_nan=False
    )
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()}, {HEADER_KEY: text})


def decode(data: bytes) -> ModelFile:
    """The parts of a model file. Raises ModelFileError if it is cut short, foreign or too new."""
    header = _header(data)
    version = header.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ModelFileError(
            f"the model file has format version {version}, this release reads up to {FORMAT_VERSION};"
            " a newer gradloom is needed"
        )
    try:
        arrays = load(data)
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"the model file is cut short or damaged: {error}") from error
    return ModelFile(str(header.get("kind")), header, arrays)


def _header(data: bytes) -> dict[str, Any]:
    """The JSON header, read from the safetensors layout: 8 bytes of length, then JSON with ``__metadata__``."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ModelFileError(f"the file of {len(data)} bytes is cut short, or is no safetensors file")
    try:
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        header = json.loads(metadata[HEADER_KEY])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError("the file is not a gradloom model: its header does not name one") from error
    if not isinstance(header, dict):
        raise ModelFileError("the file is not a gradloom model: its header is not an object")
    return header


def read(path: Path, keys: Keyring) -> bytes:
    """The bytes of a file, opened if it is sealed.

    Raises NotFound, ModelFileError if it can't be read, WrongKey, and SealBroken if it was changed or cut.
    """
    try:
        data = path.read_bytes()
        return opened(data, keys) if is_sealed(data) else data
    except WrongKey as error:
        raise WrongKey(f"the model file {str(path)!r} can't be read: {error.message}") from None
    except SealBroken as error:
        raise SealBroken(f"the model file {str(path)!r} can't be read: {error.message}") from None
    except FileNotFoundError as error:
        raise NotFound(f"there is no model file {str(path)!r}") from error
    except OSError as error:
        raise ModelFileError(f"the model file {str(path)!r} can't be read: {error.strerror}") from error


def content(data: bytes, keys: Keyring) -> Iterable[bytes]:
    """What is written of some bytes: sealed in pieces if there is a key, else as they are."""
    return [data] if keys.writes is None else sealed(data, keys.writes)
