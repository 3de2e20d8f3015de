"""All targets by name."""

from types import MappingProxyType

from fuzz import conversations, files, texts, wire
from fuzz.target import Target

TARGETS: MappingProxyType[str, Target] = MappingProxyType(
    {target.name: target for module in (wire, files, texts, conversations) for target in module.TARGETS}
)
assert len(TARGETS) == sum(len(module.TARGETS) for module in (wire, files, texts, conversations))
