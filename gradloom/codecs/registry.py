"""Every codec by name, and its text as people write it.

::

    none | float16 | bfloat16 | int8 | topk:0.01 | dgc:0.001 | powersgd:2 | signsgd | auto

After the number may stand settings: ``topk:0.01,values=float32``, ``dgc:0.001,momentum=0.9,warmup=200``,
``powersgd:2,columns=128``.
"""

from collections.abc import Callable, Mapping

import numpy as np

from gradloom.codecs import bfloat16, float16, int8, powersgd, signsgd, sparse
from gradloom.codecs.bfloat16 import BFloat16
from gradloom.codecs.codec import Bytes, Codec, Floats, Format, Packed
from gradloom.codecs.dgc import Dgc
from gradloom.codecs.float16 import Float16
from gradloom.codecs.int8 import Int8
from gradloom.codecs.powersgd import PowerSgd
from gradloom.codecs.signsgd import SignSgd
from gradloom.codecs.topk import TopK
from gradloom.errors import InvalidInput
from gradloom.tensors import Array

NONE, AUTO = "none", "auto"
NAMES = (NONE, "float16", "bfloat16", "int8", "topk", "dgc", "powersgd", "signsgd", AUTO)
FORMS = "none, float16, bfloat16, int8, topk:RATIO, dgc:RATIO, powersgd:RANK, signsgd or auto"
MAX_RANK = 1024
MAX_COLUMNS = 2**31
MAX_WARMUP = 1_000_000
MAX_DIGITS = 18

DECODERS: Mapping[Format, Callable[[Bytes, int], Floats]] = {
    Format.FLOAT16: float16.from_bytes,
    Format.BFLOAT16: bfloat16.from_bytes,
    Format.INT8: int8.from_bytes,
    Format.SPARSE: sparse.from_bytes,
    Format.LOW_RANK: powersgd.from_bytes,
    Format.SIGN: signsgd.from_bytes,
}
assert DECODERS.keys() == set(Format), "every format needs a decoder"


def decode(packed: Packed) -> Array:
    """The tensor of its dtype and shape. Raises FrameRefused for a payload that no encoder makes."""
    flat = DECODERS[packed.format](packed.payload, int(np.prod(packed.shape, dtype=object)))
    return flat.astype(packed.dtype, copy=False).reshape(packed.shape)


class _Words:
    """The parts of a codec's text, each taken once."""

    def __init__(self, field: str, text: str) -> None:
        self._field, self._text = field, text
        head, *pairs = text.replace(" ", "").split(",")
        self.name, colon, self.number = head.partition(":")
        self._has_number = bool(colon)
        self._pairs: dict[str, str] = {}
        for pair in pairs:
            name, equals, value = pair.partition("=")
            if not equals or name in self._pairs:
                raise self.refusal(f"{pair!r} must be NAME=VALUE, each name once")
            self._pairs[name] = value

    def refusal(self, problem: str) -> InvalidInput:
        return InvalidInput(self._field, f"{self._text!r} is not allowed: {problem}")

    def real(self, what: str, text: str, low: float, high: float) -> float:
        """A number in [low, high]."""
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise self.refusal(f"{what} must be a number in [{low:g}, {high:g}], not {text!r}")
        return value

    def whole(self, what: str, text: str, low: int, high: int) -> int:
        """An integer in [low, high]."""
        # Python refuses to read very long numbers, with an error of its own
        is_number = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
        if not is_number or not low <= int(text) <= high:
            raise self.refusal(f"{what} must be a whole number in [{low}, {high}], not {text!r}")
        return int(text)

    def setting(self, name: str, default: str) -> str:
        return self._pairs.pop(name, default)

    def end(self, *, has_number: bool = True) -> None:
        """Nothing else was said."""
        if self._pairs:
            raise self.refusal(f"{self.name} has no setting {min(self._pairs)!r}")
        if self._has_number and not has_number:
            raise self.refusal(f"{self.name} takes no number")


def parse_codec(text: str, field: str = "codec") -> Codec | None:
    """The codec of a text; None for ``none`` (and for an empty text). Raises InvalidInput, for ``auto`` too."""
    words = _Words(field, text or NONE)
    codec = _built(words)
    words.end(has_number=words.name in ("topk", "dgc", "powersgd"))
    return codec


def _built(words: _Words) -> Codec | None:
    match words.name:
        case "none":
            return None
        case "float16":
            return Float16()
        case "bfloat16":
            return BFloat16()
        case "int8":
            return Int8()
        case "signsgd":
            return SignSgd()
        case "topk":
            ratio = words.real("RATIO", words.number or "0.01", 1e-6, 1.0)
            values = words.setting("values", "float16")
            if values not in ("float16", "float32"):
                raise words.refusal(f"values must be float16 or float32, not {values!r}")
            return TopK(ratio, exact=values == "float32")
        case "dgc":
            ratio = words.real("RATIO", words.number or "0.001", 1e-6, 1.0)
            momentum = words.real("momentum", words.setting("momentum", "0.9"), 0.0, 0.999)
            return Dgc(ratio, momentum, words.whole("warmup", words.setting("warmup", "200"), 0, MAX_WARMUP))
        case "powersgd":
            rank = words.whole("RANK", words.number or "2", 1, MAX_RANK)
            return PowerSgd(rank, words.whole("columns", words.setting("columns", "0"), 0, MAX_COLUMNS))
    raise words.refusal(f"it must be {FORMS}")


def canonical_text(text: str, field: str = "codec", *, may_be_auto: bool = True) -> str:
    """The same codec in the one text that stands for it: defaults written out. Raises InvalidInput."""
    if text == AUTO and may_be_auto:
        return AUTO
    codec = parse_codec(text, field)
    return NONE if codec is None else str(codec)
