"""The closed networks have exactly the holes that gradloom's connections need, and each leads to a port."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builders.manifests import Objects, rendered, with_components

DNS, PROMETHEUS, CLIENTS, STORAGE, POSTGRES = "dns", "prometheus", "clients", "object store", "postgresql"
OUTSIDE = {
    "gradloom-client=true anywhere": CLIENTS,
    "app.kubernetes.io/name=prometheus in monitoring": PROMETHEUS,
    "all in kube-system": DNS,
    "169.254.20.10/32": DNS,
    "0.0.0.0/0": STORAGE,
    "::/0": STORAGE,
    "app.kubernetes.io/name=postgresql anywhere": POSTGRES,
}
"""Whom the policies mean by those who are not gradloom's."""
CONNECTIONS = {
    ("worker", "coordinator", "grpc"),
    ("dashboard", "coordinator", "grpc"),
    (CLIENTS, "coordinator", "grpc"),
    (CLIENTS, "dashboard", "http"),
    (PROMETHEUS, "coordinator", "metrics"),
    (PROMETHEUS, "worker", "metrics"),
    ("coordinator", STORAGE, 443),
    ("worker", STORAGE, 443),
    *((role, DNS, 53) for role in ("coordinator", "worker", "dashboard")),
}
"""Who calls whom, where: all of it."""
WITH_POSTGRES = CONNECTIONS | {("coordinator", POSTGRES, 5432)}
ROLES = {"coordinator", "worker", "dashboard"}
Connections = set[tuple[str, str, str | int]]


def peers(objects: Objects, several: list[dict[str, Any]]) -> Iterator[str]:
    """The roles, or the outsiders, that a rule names."""
    for peer in several:
        if "ipBlock" in peer:
            yield OUTSIDE[peer["ipBlock"]["cidr"]]
        elif "namespaceSelector" not in peer:
            yield from objects.selected(peer["podSelector"]["matchLabels"])
        else:
            labels = peer.get("podSelector", {}).get("matchLabels", {})
            namespace = peer["namespaceSelector"].get("matchLabels", {}).get("kubernetes.io/metadata.name")
            pods = ",".join(f"{name}={value}" for name, value in labels.items()) or "all"
            yield OUTSIDE[f"{pods} in {namespace}" if namespace else f"{pods} anywhere"]


def holes(objects: Objects, direction: str) -> Connections:
    """(who, whom, port) of every rule of one direction."""
    found = set()
    side = "from" if direction == "ingress" else "to"
    for policy in objects.of("NetworkPolicy"):
        assert set(policy["spec"]["policyTypes"]) >= {
            direction.title() for _ in policy["spec"].get(direction, ())
        }
        for rule in policy["spec"].get(direction, ()):
            assert rule[side], "an empty list means everybody"
            for port in rule["ports"]:
                for own in objects.selected(policy["spec"]["podSelector"]["matchLabels"]):
                    for peer in peers(objects, rule[side]):
                        ends = (peer, own) if direction == "ingress" else (own, peer)
                        found.add((*ends, port["port"]))
    return found


@pytest.fixture(params=["networkpolicy", "networkpolicy and postgres", "production", "standby"])
def closed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Objects, Connections]:
    """Objects with closed networks, and their connections."""
    match request.param:
        case "networkpolicy":
            return with_components("base", ["networkpolicy"], tmp_path), CONNECTIONS
        case "networkpolicy and postgres":
            both = ["postgres", "networkpolicy", "networkpolicy/postgres"]
            return with_components("base", both, tmp_path), WITH_POSTGRES
        case "production":
            return rendered("overlays/production"), CONNECTIONS
        case _:
            return rendered("overlays/standby"), WITH_POSTGRES


def test_everything_is_closed_to_begin_with(closed: tuple[Objects, object]) -> None:
    objects, _ = closed
    assert objects.one("NetworkPolicy", "gradloom-default-deny")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_who_may_be_called_is_who_is(closed: tuple[Objects, Connections]) -> None:
    objects, connections = closed
    assert holes(objects, "ingress") == {one for one in connections if one[1] in ROLES}


def test_who_may_call_is_who_does(closed: tuple[Objects, Connections]) -> None:
    objects, connections = closed
    assert holes(objects, "egress") == {one for one in connections if one[0] in ROLES}


def test_holes_lead_to_ports_that_are_there(closed: tuple[Objects, Connections]) -> None:
    """A named port is looked up in the pod that is called, at either end."""
    objects, connections = closed
    for _, whom, port in connections:
        assert (port in objects.containers[whom].ports) if whom in ROLES else isinstance(port, int)


def test_connections_that_settings_make_are_in_the_table(
    closed: tuple[Objects, Connections],
) -> None:
    objects, connections = closed
    for role in ("worker", "dashboard"):
        address = objects.containers[role].environment["GRADLOOM_CLUSTER"]
        assert address.startswith("gradloom-coordinator:")
        assert (role, "coordinator", "grpc") in connections
    has_database = "GRADLOOM_STORE_URL" in objects.containers["coordinator"].environment
    assert has_database == (("coordinator", POSTGRES, 5432) in connections)


def test_a_policy_never_selects_nothing(closed: tuple[Objects, object]) -> None:
    objects, _ = closed
    for policy in objects.of("NetworkPolicy"):
        assert objects.selected(policy["spec"]["podSelector"].get("matchLabels", {}))
