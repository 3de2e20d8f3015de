"""``dgc:RATIO``: deep gradient compression, momentum on the sender's side and few elements on the wire.

    u = m u + g;   v = v + u;   S = the largest |v|;   sent: v_S;   v_S -= decode(sent);   u_S = 0

The velocity is accumulated before anything is left out (momentum correction) and forgotten where an element was
sent (factor masking), so stale momentum does not push where the fresh one has gone. It takes the place of the
optimizer's own momentum, which should be 0. For the first ``warmup`` updates more is sent: 25 %, 6.25 %, 1.56 %,
0.39 % in turn, each for a quarter of them, until RATIO is reached. Source: Lin et al., "Deep Gradient Compression",
ICLR 2018.
"""

import math
from dataclasses import dataclass

from gradloom.codecs import sparse
from gradloom.codecs.codec import Bytes, Context, Floats, Format, Memory, largest
from gradloom.codecs.selection import largest_indices

STAGES = 4


@dataclass(frozen=True, slots=True)
class Dgc:
    """A share of the elements, in (0, 1], after a warm-up; the velocity's own residual."""

    ratio: float
    momentum: float = 0.9
    warmup: int = 200
    """Updates."""
    format = Format.SPARSE
    has_memory = True

    def __str__(self) -> str:
        return f"dgc:{self.ratio:g},momentum={self.momentum:g},warmup={self.warmup}"

    def ratio_at(self, iteration: int) -> float:
        """The share that is sent after so many updates."""
        if iteration >= self.warmup:
            return self.ratio
        return max(self.ratio, 0.25 ** (1 + iteration * STAGES // self.warmup))

    def encode(self, array: Floats, memory: Memory | None, context: Context) -> tuple[Bytes, Memory]:
        """About 3.3 bytes for each element that is sent. Raises NotFinite."""
        if memory is None or memory.velocity is None:
            velocity = array.copy()
        else:
            velocity = memory.velocity * self.momentum
            velocity += array
        left = velocity.copy() if memory is None else memory.residual + velocity
        largest(left)
        flat = left.reshape(-1)
        chosen = largest_indices(flat, math.ceil(self.ratio_at(context.iteration) * flat.size))
        values = flat[chosen]
        payload, received = sparse.to_bytes(chosen, values, flat.size, exact=False)
        flat[chosen] = values - received
        velocity.reshape(-1)[chosen] = 0.0
        return payload, Memory(left, velocity=velocity)
