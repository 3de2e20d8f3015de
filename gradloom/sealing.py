"""Files that only a key opens: AES-256-GCM in chunks, so that a big one streams, and nothing in it can be changed.

::

    header (64 bytes)   "GLSEAL" | version u8 | 0 u8 | key id 8 | salt 32 | chunk bytes u32 | CRC-32 of these u32 | 0 8
    chunks              each GCM(file key, nonce, plain, header): as many bytes as the plain text, and a tag of 16
    file key            HKDF-SHA256(key, salt, "gradloom file"): a nonce is never used twice with one key
    nonce               0 7 | number of the chunk u32 | 1 for the last chunk, else 0

The header is authenticated with every chunk; its CRC only tells a damaged one from one of another key. The number
puts chunks in order, the mark of the last one shows where a file was cut. An empty file has one empty chunk.
Construction: Hoang, Reyhanitabar, Rogaway and Vizar, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", CRYPTO 2015 (STREAM), as in Google Tink's AES-GCM-HKDF. Numbers are little-endian but in the nonce.
"""

import secrets
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradloom.errors import SealBroken, WrongKey
from gradloom.keys import Key, Keyring

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"GLSEAL"
VERSION = 1
HEADER = struct.Struct("<6sBx8s32sII8x")
_CRC_AT = 52
CHUNK_BYTES = 1 << 20
MAX_CHUNK_BYTES = 64 << 20
"""A header that says more is not ours: it would have us wait for a chunk of gigabytes."""
TAG_BYTES = 16
_NONCE = struct.Struct(">7xIB")
_MAX_CHUNKS = 2**32


def is_sealed(data: bytes | memoryview) -> bool:
    """Whether the start of a file says that it is sealed."""
    return bytes(data[: len(MAGIC)]) == MAGIC


def sealed(data: bytes | memoryview, key: Key, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The sealed file, in pieces of about ``chunk_bytes``: only one of them exists at a time."""
    salt = secrets.token_bytes(32)
    header = _header(key, salt, chunk_bytes)
    yield header
    cipher, plain = _cipher(key, salt), memoryview(data)
    last = max(0, -(-len(plain) // chunk_bytes) - 1)
    assert last < _MAX_CHUNKS, "chunks are counted in 32 bits"
    for number in range(last + 1):
        part = plain[number * chunk_bytes : (number + 1) * chunk_bytes]
        yield cipher.encrypt(_NONCE.pack(number, number == last), part, header)


def opened(data: bytes, keys: Keyring) -> bytes:
    """What a sealed file holds. Raises WrongKey if none of the keys is its own, SealBroken if it was changed or cut."""
    header, chunk_bytes = data[: HEADER.size], _check_header(data)
    key = key_of(data, keys)
    cipher, body = _cipher(key, HEADER.unpack(header)[3]), memoryview(data)[HEADER.size :]
    step = chunk_bytes + TAG_BYTES
    last = max(0, -(-len(body) // step) - 1)
    return b"".join(_chunks(cipher, header, body, step, last))


def key_of(data: bytes, keys: Keyring) -> Key:
    """The key that a sealed file was sealed with, by the first bytes of it. Raises WrongKey, SealBroken."""
    _check_header(data)
    id_bytes: bytes = HEADER.unpack(data[: HEADER.size])[2]
    key = keys.with_id(id_bytes)
    if key is None:
        here = f"here are the keys {keys}" if keys.keys else "no key is given here"
        raise WrongKey(
            f"it is encrypted with the key {id_bytes.hex()}, and {here}; set GRADLOOM_ENCRYPTION_KEY_FILE or"
            " GRADLOOM_ENCRYPTION_KEY to that key"
        )
    return key


def _header(key: Key, salt: bytes, chunk_bytes: int) -> bytes:
    start = HEADER.pack(MAGIC, VERSION, key.id_bytes, salt, chunk_bytes, 0)
    return HEADER.pack(MAGIC, VERSION, key.id_bytes, salt, chunk_bytes, zlib.crc32(start[:_CRC_AT]))


def _check_header(data: bytes) -> int:
    if len(data) < HEADER.size or not is_sealed(data):
        raise SealBroken(f"it has {len(data)} bytes, and no whole header of an encrypted file")
    _, version, _, _, chunk_bytes, checksum = HEADER.unpack(data[: HEADER.size])
    if zlib.crc32(data[:_CRC_AT]) != checksum:
        raise SealBroken("it is damaged: the header of the encrypted file is not what was written")
    if version != VERSION:
        raise SealBroken(
            f"it is encrypted in version {version} of the format; this release reads version {VERSION}"
        )
    if not 0 < chunk_bytes <= MAX_CHUNK_BYTES:
        raise SealBroken(f"its header says chunks of {chunk_bytes} bytes, which no release writes")
    return int(chunk_bytes)


def _chunks(cipher: "AESGCM", header: bytes, body: memoryview, step: int, last: int) -> Iterator[bytes]:
    from cryptography.exceptions import InvalidTag

    for number in range(last + 1):
        part = body[number * step : (number + 1) * step]
        try:
            yield cipher.decrypt(_NONCE.pack(number, number == last), part, header)
        except (InvalidTag, ValueError):  # ValueError: shorter than a tag
            raise SealBroken(
                f"it is damaged, cut short or changed: chunk {number + 1} of {last + 1} is not what was encrypted"
            ) from None


def _cipher(key: Key, salt: bytes) -> "AESGCM":
    # imported here: it takes longer than all else that most commands do, and few files are sealed
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return AESGCM(HKDF(SHA256(), 32, salt, b"gradloom file").derive(key.secret))
