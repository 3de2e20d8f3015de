"""What the files of uploads and their columns are called: told apart from all other data by their names alone."""

import re
import uuid
from dataclasses import dataclass

_NAME = re.compile(r"gradloom-upload-(\d+)-[0-9a-f]{32}\.npz")


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """What the columns of an upload are called that are no features."""

    target: str
    """Empty where it has none."""
    weight: str
    """Empty where it has none."""


def upload_name(now: float) -> str:
    """A name that nobody else chooses; it says when it was made, in seconds since the epoch."""
    return f"gradloom-upload-{int(now)}-{uuid.uuid4().hex}.npz"


def is_upload(path: str) -> bool:
    """Whether a path or URI is that of an upload."""
    return _NAME.fullmatch(path.rpartition("/")[2]) is not None
