"""Codecs: gradients and parameters in fewer bytes.

One file a codec. ``parse_codec`` reads what people write, ``pack`` encodes the gradients of a partial, ``decode``
reads what came over the wire. What each codec costs and saves stands in docs/compression.md.
"""

from gradloom.codecs.codec import Codec, Context, Format, Memory, NotFinite, Packed, folded
from gradloom.codecs.packing import Account, PackedPartial, Parcel, pack, unpack
from gradloom.codecs.registry import AUTO, NAMES, NONE, canonical_text, decode, parse_codec

__all__ = [
    "AUTO",
    "NAMES",
    "NONE",
    "Account",
    "Codec",
    "Context",
    "Format",
    "Memory",
    "NotFinite",
    "Packed",
    "PackedPartial",
    "Parcel",
    "canonical_text",
    "decode",
    "folded",
    "pack",
    "parse_codec",
    "unpack",
]
