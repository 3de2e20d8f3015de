"""Everything that k8s/ renders to is what an API server takes: by its schemas, and by what no schema says."""

import json
import re
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest

from builders.manifests import (
    K8S,
    ROOT,
    Object,
    Objects,
    canonical,
    components,
    folders,
    rendered,
    with_components,
)
from k8s.crds import SCHEMAS

OLDEST, NEWEST = "1.27", "1.37"
"""Minors of Kubernetes: the first where gRPC probes are for everybody, and the last whose schemas there are."""
ANNOTATION_LIMIT = 262144
"""kubectl apply keeps the whole object in an annotation, and this is all that annotations may hold."""
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


@cache
def complaint(text: str, version: str) -> str:
    """What is wrong with an object; empty if nothing is. Objects of several overlays are often the same."""
    one = json.loads(text)
    try:
        if one["kind"] in SCHEMAS:
            jsonschema.Draft202012Validator(SCHEMAS[one["kind"]]).validate(one)
        else:
            assert kubernetes_validate.validate(one, version, strict=True) == version
    except jsonschema.ValidationError as error:
        where = ".".join(map(str, error.absolute_path))
        return f"{one['kind']}/{one['metadata']['name']} {where}: {error.message[:300]}"
    return ""


def names(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_fits_its_schema_strictly(objects: Objects, version: str) -> None:
    assert [wrong for one in objects.all if (wrong := complaint(canonical(one), version))] == []


def test_a_misspelt_field_would_be_noticed(objects: Objects) -> None:
    pod = objects.containers["worker"].workload
    spoilt = {**pod, "spec": {**pod["spec"], "replicaz": 3}}
    assert "replicaz" in complaint(canonical(spoilt), NEWEST)


def test_no_kubernetes_object_needs_another_version_than_the_documentation_says() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    assert f"Kubernetes {OLDEST} or later" in page
    assert NEWEST in page


def test_names_and_labels_are_allowed_and_unique(objects: Objects) -> None:
    assert len({names(one) for one in objects.all}) == len(objects.all)
    for one in objects.all:
        metadata = one["metadata"]
        assert NAME.fullmatch(metadata["name"]), names(one)
        assert len(metadata["name"]) <= 63
        for value in metadata.get("labels", {}).values():
            assert LABEL.fullmatch(value), f"{names(one)}: {value}"
            assert len(value) <= 63


def test_everything_lives_in_one_namespace_that_enforces_restricted_pods(objects: Objects) -> None:
    (namespace,) = objects.of("Namespace")
    assert {one["metadata"]["namespace"] for one in objects.all if one is not namespace} == {
        namespace["metadata"]["name"]
    }
    labels = namespace["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {
        "restricted"
    }


def test_everything_says_what_it_is_part_of(objects: Objects) -> None:
    assert {one["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") for one in objects.all} == {
        "gradloom"
    }


def test_kubectl_apply_can_remember_every_object(objects: Objects) -> None:
    for one in objects.all:
        assert len(canonical(one).encode()) + 1000 < ANNOTATION_LIMIT, names(one)


def test_no_secret_is_in_the_repository(objects: Objects) -> None:
    assert objects.of("Secret") == []
    for path in K8S.rglob("*"):
        if path.is_file():
            assert "PRIVATE KEY" not in path.read_text()


def test_what_can_never_change_holds_nothing_that_changes(objects: Objects) -> None:
    """A version in a selector or in a claim's template would make the next release's apply fail."""
    for one in objects.of("StatefulSet", "Deployment"):
        selector = one["spec"]["selector"]["matchLabels"]
        assert selector.keys() == {"app.kubernetes.io/name", "app.kubernetes.io/component"}
        for claim in one["spec"].get("volumeClaimTemplates", ()):
            assert "app.kubernetes.io/version" not in claim["metadata"].get("labels", {})


@pytest.mark.parametrize("component", ["monitoring", "networkpolicy", "networkpolicy/postgres"])
def test_components_that_are_not_about_pods_leave_them_alone(component: str, tmp_path: Path) -> None:
    plain = rendered("base")
    with_it = with_components("base", [component], tmp_path)
    assert {canonical(one) for one in plain.all} <= {canonical(one) for one in with_it.all}


def test_every_folder_is_looked_at() -> None:
    inside = {str(folder.relative_to(K8S)) for folder in folders()}
    assert inside == {
        "base",
        "overlays/local",
        "overlays/production",
        "overlays/standby",
        *(f"components/{one}" for one in components()),
    }
    assert set(components()) == {
        "autoscaling/hpa",
        "autoscaling/keda",
        "monitoring",
        "networkpolicy",
        "networkpolicy/postgres",
        "postgres",
        "tls",
    }
