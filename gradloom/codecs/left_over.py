"""What codecs have left out, as tensors beside those of a message: for checkpoints, and back to workers from them.

Residuals and velocities are sums over rows, so those of all shards add up to one of each, whatever the number of
workers; and a task whose shards are a part of all takes up that part of it. A low-rank basis is only a place to start
a search from, and is not kept.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gradloom.codecs.codec import Memory
from gradloom.tensors import Tensors

RESIDUAL = "left_over.residual."
VELOCITY = "left_over.velocity."
"""Names of tensors begin so; no algorithm's own do."""


def is_left_over(name: str) -> bool:
    """Whether a tensor of a message is no part of what the algorithm computes with."""
    return name.startswith((RESIDUAL, VELOCITY))


def tensors_of(memories: Mapping[str, Memory]) -> Tensors:
    """Memories by tensor, as they are sent."""
    sent = {RESIDUAL + name: memory.residual for name, memory in memories.items()}
    velocities = {name: memory.velocity for name, memory in memories.items()}
    return sent | {VELOCITY + name: array for name, array in velocities.items() if array is not None}


def part_of(message: Tensors, share: float) -> dict[str, Memory]:
    """The part of what a message brings that falls to a task with that share of all shards."""
    found: dict[str, Memory] = {}
    for name, array in message.items():
        if name.startswith(RESIDUAL):
            found[name.removeprefix(RESIDUAL)] = Memory(np.float32(share) * array)
    for name, array in message.items():
        if (tensor := name.removeprefix(VELOCITY)) in found and name != tensor:
            found[tensor] = replace(found[tensor], velocity=np.float32(share) * array)
    return found


def parted(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """The tensors of a message that are the algorithm's, and those that are not."""
    left_over = {name: array for name, array in tensors.items() if is_left_over(name)}
    if not left_over:
        return tensors, {}
    return {name: array for name, array in tensors.items() if name not in left_over}, left_over
