"""Encode and decode of every codec, in GB of float32 a second, against memcpy in the same run.

python benchmarks/codecs.py [--elements 1000000] [--repeats 7]
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from gradloom.codecs import Context, Packed, decode, parse_codec
from gradloom.memory import tune_malloc

CODECS = (
    "float16",
    "bfloat16",
    "int8",
    "topk:0.1",
    "topk:0.01",
    "topk:0.001",
    "dgc:0.001,warmup=0",
    "powersgd:2",
    "powersgd:4",
    "signsgd",
)


def best_s(work: Callable[[], object], repeats: int) -> float:
    """The shortest of several runs: what the machine can do when nobody disturbs it."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(elements: int, repeats: int) -> list[dict[str, object]]:
    rows = max(1, round(elements**0.5 / 2))
    x = np.random.default_rng(0).normal(scale=1e-4, size=(rows, elements // rows)).astype(np.float32)
    gigabytes, context = x.nbytes / 1e9, Context(1, 2, 0, 4, "gradient")
    target = np.empty_like(x)
    found: list[dict[str, object]] = [
        {"codec": "memcpy", "encode": gigabytes / best_s(lambda: np.copyto(target, x), repeats)}
    ]
    for text in CODECS:
        codec = parse_codec(text)
        assert codec is not None
        _, memory = codec.encode(x, None, context)
        payload, _ = codec.encode(x, memory, context)
        assert payload is not None
        packed = Packed(codec.format, x.dtype, x.shape, payload)
        encode_s = best_s(lambda c=codec, m=memory: c.encode(x, m, context), repeats)
        decode_s = best_s(lambda p=packed: decode(p), repeats)
        found.append(
            {
                "codec": text,
                "encode": gigabytes / encode_s,
                "decode": gigabytes / decode_s,
                "smaller": x.nbytes / payload.nbytes,
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elements", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    tune_malloc()
    found = measure(arguments.elements, arguments.repeats)
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{arguments.elements:,} float32; GB of float32 a second, bytes against float32")
    for row in found:
        decode_rate = f"{row['decode']:6.2f}" if "decode" in row else "      "
        smaller = f"{row['smaller']:8.1f} x" if "smaller" in row else ""
        print(f"{row['codec']:20}  encode {row['encode']:6.2f}  decode {decode_rate}{smaller}")


if __name__ == "__main__":
    main()
