"""Keys for what lies on disk: 32 random bytes as text, one that writes and older ones that still read.

A key is named by its id, which says nothing about it; the key itself is in no repr, no log and no error. Values and
text only: who reads the environment or a file is ``gradloom.settings``.
"""

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass, field

from gradloom.errors import InvalidInput

KEY_BYTES = 32
_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Key:
    """One key of AES-256."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        assert len(self.secret) == KEY_BYTES, "a key is read by parse_keys"

    @property
    def id_bytes(self) -> bytes:
        """The start of a hash of the key: tells keys apart and gives nothing away."""
        return hashlib.sha256(b"gradloom key id" + self.secret).digest()[:_ID_BYTES]

    @property
    def id(self) -> str:
        """The id as people read it: 16 hexadecimal digits."""
        return self.id_bytes.hex()


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of a process: the first one writes, all of them read; without any nothing is encrypted."""

    keys: tuple[Key, ...] = ()

    @property
    def writes(self) -> Key | None:
        """The key that new files are sealed with; None = they stay plain."""
        return self.keys[0] if self.keys else None

    def with_id(self, id_bytes: bytes) -> Key | None:
        """The key of that id, if it is here."""
        return next((key for key in self.keys if key.id_bytes == id_bytes), None)

    def __str__(self) -> str:
        return ", ".join(key.id for key in self.keys) or "none"


NO_KEYS = Keyring()


def new_key() -> str:
    """A new random key as text: base64, 44 characters."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse_keys(text: str, source: str) -> Keyring:
    """The keys in a text, one a line, base64 or hexadecimal; ``#`` begins a comment.

    ``source`` is what an error names: a file or a variable. Raises InvalidInput; it never repeats the text.
    """
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    keys = tuple(_parse_key(line, number, source) for number, line in enumerate(lines, start=1) if line)
    if not keys:
        raise InvalidInput(source, "holds no key; gradloom keygen FILE makes one")
    return Keyring(keys)


def _parse_key(line: str, number: int, source: str) -> Key:
    try:
        is_hex = len(line) == 2 * KEY_BYTES
        secret = bytes.fromhex(line) if is_hex else base64.b64decode(line, validate=True)
    except (ValueError, binascii.Error):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise InvalidInput(
            source,
            f"line {number} is no key of {KEY_BYTES} bytes in base64 or hexadecimal; gradloom keygen FILE makes one",
        )
    return Key(secret)
