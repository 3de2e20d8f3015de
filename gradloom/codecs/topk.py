"""``topk:RATIO``: the elements of largest magnitude, and error feedback for all others.

    v = g + e;   S = the ceil(RATIO n) largest |v|;   sent: v_S;   e' = v - decode(sent)

At 1 % about 120 times fewer bytes than float32. Sources: Aji, Heafield, "Sparse communication for distributed
gradient descent", EMNLP 2017; Stich et al., "Sparsified SGD with memory", NeurIPS 2018.
"""

import math
from dataclasses import dataclass

from gradloom.codecs import sparse
from gradloom.codecs.codec import Bytes, Context, Floats, Format, Memory, largest, with_residual
from gradloom.codecs.selection import largest_indices


@dataclass(frozen=True, slots=True)
class TopK:
    """A share of the elements, in [0, 1]."""

    ratio: float
    exact: bool = False
    """Send float32 values, not float16."""
    format = Format.SPARSE
    has_memory = True

    def __str__(self) -> str:
        return f"topk:{self.ratio:g}" + (",values=float32" if self.exact else "")

    def encode(self, array: Floats, memory: Memory | None, context: Context) -> tuple[Bytes, Memory]:  # noqa: ARG002
        """About 3.3 bytes for each element that is sent. Raises NotFinite."""
        left = with_residual(array, memory)
        largest(left)
        flat = left.reshape(-1)
        chosen = largest_indices(flat, math.ceil(self.ratio * flat.size))
        values = flat[chosen]
        payload, received = sparse.to_bytes(chosen, values, flat.size, exact=self.exact)
        flat[chosen] = values - received
        return payload, Memory(left)
