"""Random bits for rounding: the same for the same job, iteration, shards and tensor, whoever asks."""

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from gradloom.codecs.codec import Context
from gradloom.rng import random_words


def dither(context: Context, n: int) -> NDArray[np.uint16]:
    """n uniform integers in [0, 65536)."""
    words = random_words(
        context.seed,
        crc32(context.tensor.encode()),
        (context.iteration, (context.lo << 32) | (context.hi & 0xFFFFFFFF)),
        -(-n // 4),
    )
    return words.view(np.uint16)[:n]
