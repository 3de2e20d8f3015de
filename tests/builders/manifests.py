"""What `kubectl kustomize` makes of k8s/, and what can be read off it: objects, pods, containers, settings."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
LIMIT_S = 60
WORKLOADS = ("StatefulSet", "Deployment")
WHY_NOT = None if shutil.which("kubectl") else "kubectl is not installed: nothing to render with"

Object = dict[str, Any]


@dataclass(frozen=True)
class Container:
    """The one container of a pod, and the objects that it takes its settings from."""

    workload: Object = field(repr=False)
    spec: Object = field(repr=False)
    objects: "Objects"

    @property
    def role(self) -> str:
        """coordinator, worker or dashboard."""
        return str(self.spec["name"])

    @property
    def pod(self) -> Object:
        """The pod's own specification."""
        spec: Object = self.workload["spec"]["template"]["spec"]
        return spec

    @property
    def environment(self) -> dict[str, str]:
        """What the process finds there; values of Secrets and of the pod as ``<where they come from>``."""
        found: dict[str, str] = {}
        for source in self.spec.get("envFrom", ()):
            if "configMapRef" in source:
                found |= self.objects.one("ConfigMap", source["configMapRef"]["name"])["data"]
        for one in self.spec.get("env", ()):
            where = one.get("valueFrom", {})
            pointer = f"<{where['fieldRef']['fieldPath']}>" if "fieldRef" in where else "<secret>"
            found[one["name"]] = one.get("value", pointer)
        return found

    @property
    def args(self) -> list[str]:
        """The arguments that follow the image's entry point."""
        assert "command" not in self.spec, "the image's entry point is what compose starts too"
        return [str(one) for one in self.spec.get("args", ())]

    @property
    def ports(self) -> dict[str, int]:
        """Its ports by name."""
        return {port["name"]: port["containerPort"] for port in self.spec.get("ports", ())}

    @property
    def limits(self) -> Mapping[str, str]:
        """Of cpu and memory."""
        limits: Mapping[str, str] = self.spec["resources"]["limits"]
        return limits


@dataclass(frozen=True)
class Objects:
    """Everything that one folder renders to."""

    name: str
    all: tuple[Object, ...] = field(repr=False)

    def of(self, *kinds: str) -> list[Object]:
        """Those of some kinds."""
        return [one for one in self.all if one["kind"] in kinds]

    def one(self, kind: str, name: str) -> Object:
        """The object of a kind and a name."""
        found = [one for one in self.of(kind) if one["metadata"]["name"] == name]
        assert len(found) == 1, f"{self.name}: {len(found)} objects {kind}/{name}"
        return found[0]

    def has(self, kind: str, name: str) -> bool:
        """Whether there is one."""
        return any(one["metadata"]["name"] == name for one in self.of(kind))

    @property
    def containers(self) -> dict[str, Container]:
        """By role."""
        found = [
            Container(workload, container, self)
            for workload in self.of(*WORKLOADS)
            for container in workload["spec"]["template"]["spec"]["containers"]
        ]
        return {one.role: one for one in found}

    def selected(self, selector: Mapping[str, str]) -> list[str]:
        """The roles of the pods that have these labels."""
        return sorted(
            role
            for role, one in self.containers.items()
            if selector.items() <= one.workload["spec"]["template"]["metadata"]["labels"].items()
        )


def folders() -> Iterator[Path]:
    """Everything under k8s that has a kustomization.yaml of its own."""
    return (path.parent for path in sorted(K8S.rglob("kustomization.yaml")))


def components() -> list[str]:
    """Every component, by its path under k8s/components."""
    inside = K8S / "components"
    return [str(folder.relative_to(inside)) for folder in folders() if folder.is_relative_to(inside)]


@cache
def rendered(folder: str) -> Objects:
    """A folder under k8s."""
    return render(K8S / folder, folder)


def with_components(base: str, wanted: Iterable[str], folder: Path) -> Objects:
    """A folder under k8s with some components on it, put together as a user would, in an empty ``folder``."""
    wanted = list(wanted)

    def there(path: Path) -> str:
        return os.path.relpath(path, folder.resolve())

    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "gradloom",
        "resources": [there(K8S / base)],
        "components": [there(K8S / "components" / one) for one in wanted],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return render(folder, f"{base} with {' and '.join(wanted)}")


def render(folder: Path, name: str) -> Objects:
    """What a folder renders to; ``name`` is what tests call it."""
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, f"{name}: {done.stderr}"
    assert not done.stderr, f"{name}: {done.stderr}"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the dashboards are long
    return Objects(name, tuple(one for one in yaml.load_all(done.stdout, loader) if one))


def canonical(one: Object) -> str:
    """One text for equal objects."""
    return json.dumps(one, sort_keys=True)
