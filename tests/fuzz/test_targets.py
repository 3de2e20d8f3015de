"""Every target, for a moment: nothing hostile crashes it, hangs it, or takes more memory than it says."""

import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings

from fuzz.mutations import hostile
from fuzz.target import Target
from fuzz.targets import TARGETS

EXAMPLES = 150


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.timeout(120)  # a hang is a defect too
def test_hostile_bytes_are_refused_in_bounded_memory(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    for seed in seeds:
        target(seed)  # what is imported and cached by the first use is nobody's fault

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(hostile(seeds))
    def holds(data: bytes) -> None:
        taken = memory_taken(target, data)
        assert taken <= target.limit_bytes + 64 * len(data), (
            f"{taken} bytes of memory for {len(data)} of input"
        )

    holds()


def memory_taken(target: Target, data: bytes) -> int:
    """The peak in bytes; traced for this call alone, because tracing slows everything down."""
    tracemalloc.start()
    try:
        target(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
