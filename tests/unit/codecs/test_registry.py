"""Codecs as people write them."""

import pytest

from gradloom.codecs import NAMES, canonical_text, parse_codec
from gradloom.codecs.registry import DECODERS
from gradloom.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", "none"),
        ("none", "none"),
        ("float16", "float16"),
        ("bfloat16", "bfloat16"),
        ("int8", "int8"),
        ("topk", "topk:0.01"),
        ("topk:0.010", "topk:0.01"),
        ("topk:1e-3, values=float32", "topk:0.001,values=float32"),
        ("dgc", "dgc:0.001,momentum=0.9,warmup=200"),
        ("dgc:0.01,warmup=0", "dgc:0.01,momentum=0.9,warmup=0"),
        ("powersgd", "powersgd:2"),
        ("powersgd:4", "powersgd:4"),
        ("powersgd:2,columns=128", "powersgd:2,columns=128"),
        ("signsgd", "signsgd"),
        ("auto", "auto"),
    ],
)
def test_each_codec_has_one_text(text: str, canonical: str) -> None:
    assert canonical_text(text) == canonical
    assert canonical_text(canonical) == canonical
    if canonical not in ("none", "auto"):
        assert str(parse_codec(canonical)) == canonical


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("zip", "must be none, float16"),
        ("topk:0", r"RATIO must be a number in \[1e-06, 1\], not '0'"),
        ("topk:2", "RATIO"),
        ("topk:nan", "RATIO"),
        ("topk:many", "'many'"),
        ("topk:0.1,values=int8", "values must be float16 or float32"),
        ("topk:0.1,momentum=0.9", "topk has no setting 'momentum'"),
        ("topk:0.1,values", "must be NAME=VALUE"),
        ("dgc:0.1,momentum=1", "momentum"),
        ("dgc:0.1,warmup=-1", "warmup"),
        ("powersgd:0", "RANK must be a whole number"),
        ("powersgd:1.5", "RANK"),
        ("int8:4", "int8 takes no number"),
        ("none:", "none takes no number"),
        ("auto:1", "must be none"),
        ("powersgd:" + "9" * 5000, "RANK must be a whole number"),  # more digits than Python reads
    ],
)
def test_other_texts_are_refused_with_what_is_allowed(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refusal:
        canonical_text(text)
    assert refusal.value.field == "codec"
    assert repr(text) in refusal.value.problem


def test_the_field_is_the_one_that_was_written() -> None:
    with pytest.raises(InvalidInput, match="downlink: 'auto' is not allowed"):
        canonical_text("auto", "downlink", may_be_auto=False)


def test_every_name_is_known() -> None:
    for name in NAMES:
        assert canonical_text(name)


def test_every_codec_writes_a_format_that_can_be_read() -> None:
    for name in NAMES:
        if name != "auto" and (codec := parse_codec(name)) is not None:
            assert codec.format in DECODERS
