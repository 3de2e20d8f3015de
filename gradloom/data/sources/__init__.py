"""File formats: one module each, behind one shallow Protocol; this is their registry."""

from collections.abc import Mapping
from functools import cache
from pathlib import PurePosixPath
from types import MappingProxyType

from gradloom.data.sources.source import Column, FileScan, Part, Source
from gradloom.errors import InvalidInput

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "Column",
    "FileScan",
    "Part",
    "Source",
    "extension_of",
    "source_for",
    "source_of",
]

FORMATS = ("parquet", "csv", "npy", "npz", "svmlight")

EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {
        ".parquet": "parquet",
        ".pq": "parquet",
        ".csv": "csv",
        ".npy": "npy",
        ".npz": "npz",
        ".svm": "svmlight",
        ".svmlight": "svmlight",
        ".libsvm": "svmlight",
    }
)

_COMPRESSED = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip"})


@cache
def source_of(name: str) -> Source:
    """The format of that name, one of FORMATS. Raises InvalidInput for another.

    Imported when it is first asked for: Arrow alone takes 0.2 s, and a service that starts reads no file yet.
    """
    match name:
        case "parquet":
            from gradloom.data.sources.parquet import ParquetSource

            return ParquetSource()
        case "csv":
            from gradloom.data.sources.csv_text import CsvSource

            return CsvSource()
        case "npy":
            from gradloom.data.sources.npy import NpySource

            return NpySource()
        case "npz":
            from gradloom.data.sources.npz import NpzSource

            return NpzSource()
        case "svmlight":
            from gradloom.data.sources.svmlight import SvmlightSource

            return SvmlightSource()
        case _:
            raise InvalidInput.unknown_name("format", name, FORMATS)


def extension_of(uri: str) -> str:
    """The last extension of a URI in lower case, with its dot; empty if it has none."""
    return PurePosixPath(uri.replace("\\", "/")).suffix.lower()


def source_for(uri: str, format: str | None = None) -> Source:  # noqa: A002  the word that people type
    """The format of ``uri``: the one named, else by its extension.

    Raises InvalidInput for an unknown name or extension, and for compressed text.
    """
    extension = extension_of(uri)
    if extension in _COMPRESSED:
        raise InvalidInput(
            "data",
            f"{uri} is compressed as a whole, so that workers can't read parts of it; convert it to Parquet",
        )
    name = format or EXTENSIONS.get(extension)
    if name is None:
        raise InvalidInput(
            "format",
            f"can't be told from the name {uri}; known extensions: {', '.join(EXTENSIONS)}; "
            f"or name the format: {', '.join(FORMATS)}",
        )
    return source_of(name)
