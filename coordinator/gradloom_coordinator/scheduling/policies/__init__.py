"""Placement policies: pure functions from shards and workers to a plan, with its reason. One file each."""

from collections.abc import Mapping

from gradloom.errors import InvalidInput
from gradloom_coordinator.scheduling.policies.balanced import balanced
from gradloom_coordinator.scheduling.policies.local import local
from gradloom_coordinator.scheduling.policies.placement import Candidate, Placement, Policy
from gradloom_coordinator.scheduling.policies.random import random
from gradloom_coordinator.scheduling.policies.round_robin import round_robin

DEFAULT_POLICY = "balanced"
POLICIES: Mapping[str, Policy] = {
    "balanced": balanced,
    "local": local,
    "random": random,
    "round_robin": round_robin,
}


def policy_named(name: str) -> str:
    """The name of a policy; empty = the default. Raises InvalidInput for an unknown one."""
    if name and name not in POLICIES:
        raise InvalidInput.unknown_name("placement", name, POLICIES)
    return name or DEFAULT_POLICY


__all__ = ["DEFAULT_POLICY", "POLICIES", "Candidate", "Placement", "Policy", "policy_named"]
