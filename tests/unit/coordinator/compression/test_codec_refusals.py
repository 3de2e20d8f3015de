"""Codecs that a job can't have: refused before anything is sent."""

from dataclasses import replace

import pytest

from gradloom.errors import InvalidInput
from gradloom.specs import DataSpec, JobSpec, check_spec
from gradloom_coordinator.compression.traffic import check_codecs


def spec(algorithm: str = "multinomial", solver: str = "adam", **fields: str) -> JobSpec:
    return JobSpec(algorithm, DataSpec(("data.csv",), "y"), {"solver": solver}, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"codec": "topk:7"}, "codec: 'topk:7' is not allowed: RATIO must be a number"),
        ({"downlink": "auto"}, "downlink: 'auto' is not allowed"),
        ({"downlink": "zip"}, "downlink: 'zip' is not allowed"),
    ],
)
def test_what_is_no_codec_is_refused_before_anything_is_sent(fields: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_spec(spec(**fields))


def test_codecs_that_do_not_suit_the_algorithm_are_refused() -> None:
    for codec in ("none", "float16", "int8", "auto", "topk:0.01", "signsgd", "dgc", "powersgd"):
        check_codecs(spec(codec=codec, downlink="int8"))
    check_codecs(spec(solver="lbfgs", codec="bfloat16"))
    with pytest.raises(InvalidInput, match=r"codec: topk:0.01 does not suit multinomial.*whole gradients"):
        check_codecs(spec(solver="lbfgs", codec="topk:0.01"))
    with pytest.raises(InvalidInput, match=r"downlink: int8 does not suit multinomial.*compare losses"):
        check_codecs(spec(solver="lbfgs", downlink="int8"))
    mlp = JobSpec("mlp_classifier", DataSpec(("data.csv",), "y"), {"solver": "sgd"}, codec="dgc")
    with pytest.raises(
        InvalidInput, match=r"keeps the momentum itself, and so does solver=sgd with momentum=0.9"
    ):
        check_codecs(mlp)
    check_codecs(replace(mlp, settings={"solver": "sgd", "momentum": "0"}))
    check_codecs(replace(mlp, codec="dgc:0.01,momentum=0"))
    with pytest.raises(InvalidInput, match=r"downlink: dgc:0.01 is for gradients"):
        check_codecs(spec(downlink="dgc:0.01"))


def test_an_algorithm_without_gradients_takes_none_or_auto() -> None:
    bare = JobSpec("statistics", DataSpec(("data.csv",)))
    check_codecs(replace(bare, codec="none"))
    check_codecs(replace(bare, codec="auto"))
    with pytest.raises(InvalidInput, match=r"codec: int8 does not suit statistics.*no sums of gradients"):
        check_codecs(replace(bare, codec="int8"))
    with pytest.raises(InvalidInput, match=r"downlink: int8 does not suit statistics.*no parameters"):
        check_codecs(replace(bare, downlink="int8"))
