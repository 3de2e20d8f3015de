"""The certificates that cert-manager is asked for are those that the programs expect, and pods mount them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builders.manifests import Objects, rendered, with_components
from gradloom.roles import Role


def certificates(objects: Objects) -> dict[str, Any]:
    """By name; without the authority's own."""
    found = {one["metadata"]["name"]: one["spec"] for one in objects.of("Certificate")}
    del found["gradloom-ca"]
    return found


@pytest.fixture(params=["tls", "overlays/production", "overlays/standby"])
def secured(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return with_components("base", ["tls"], tmp_path) if request.param == "tls" else rendered(request.param)


def test_each_role_has_a_certificate_that_says_so(secured: Objects) -> None:
    units = {name: spec["subject"]["organizationalUnits"] for name, spec in certificates(secured).items()}
    assert units == {
        "gradloom-coordinator-tls": ["coordinator"],
        "gradloom-worker-tls": ["worker"],
        "gradloom-dashboard-tls": ["dashboard"],
        "gradloom-admin-tls": ["admin"],
    }


def test_the_dashboard_has_no_role_so_that_those_who_log_in_keep_theirs(secured: Objects) -> None:
    (unit,) = certificates(secured)["gradloom-dashboard-tls"]["subject"]["organizationalUnits"]
    assert unit not in set(Role)
    assert secured.containers["dashboard"].environment["GRADLOOM_DASHBOARD_REQUIRE_LOGIN"] == "1"


def test_pods_mount_the_certificate_of_their_role(secured: Objects) -> None:
    for role, container in secured.containers.items():
        (volume,) = (one for one in container.pod["volumes"] if one["name"] == "tls")
        assert volume["secret"]["secretName"] == certificates(secured)[f"gradloom-{role}-tls"]["secretName"]
        assert volume["secret"]["defaultMode"] == 0o440, "the group reads it, nobody else"
        keys = {name: Path(container.environment[f"GRADLOOM_TLS_{name}"]) for name in ("CA", "CERT", "KEY")}
        assert {path.name for path in keys.values()} == {"ca.crt", "tls.crt", "tls.key"}


def test_the_coordinators_certificate_has_all_of_its_names(secured: Objects) -> None:
    names = set(certificates(secured)["gradloom-coordinator-tls"]["dnsNames"])
    for service in secured.of("Service"):
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
        if name == "gradloom-coordinator":
            assert names >= {
                name,
                f"{name}.{namespace}",
                f"{name}.{namespace}.svc",
                f"{name}.{namespace}.svc.cluster.local",
            }
        elif name == "gradloom-coordinator-pods":
            assert names >= {f"*.{name}", f"*.{name}.{namespace}.svc.cluster.local"}
    assert "localhost" in names, "for kubectl port-forward"
    assert certificates(secured)["gradloom-coordinator-tls"]["usages"] == ["digital signature", "server auth"]


def test_certificates_are_renewed_within_their_last_third(secured: Objects) -> None:
    for spec in certificates(secured).values():
        lives, before = (
            timedelta(hours=int(spec[what].removesuffix("h"))) for what in ("duration", "renewBefore")
        )
        assert before == lives / 3
        assert spec["issuerRef"]["name"] == "gradloom-ca"


def test_everything_is_either_encrypted_or_says_that_it_is_not(objects: Objects) -> None:
    for container in objects.containers.values():
        environment = container.environment
        insecure = environment["GRADLOOM_INSECURE"] == "1"
        assert insecure != ("GRADLOOM_TLS_KEY" in environment)
        assert not (insecure and objects.name in ("overlays/production", "overlays/standby"))


def test_production_reads_tokens_from_a_secret() -> None:
    coordinator = rendered("overlays/production").containers["coordinator"]
    (volume,) = (one for one in coordinator.pod["volumes"] if one["name"] == "tokens")
    assert volume["secret"]["secretName"] == "gradloom-tokens"
    (mount,) = (one for one in coordinator.spec["volumeMounts"] if one["name"] == "tokens")
    assert "subPath" not in mount, "a Secret that changes would not be seen"
    assert coordinator.environment["GRADLOOM_TOKENS_FILE"].startswith(f"{mount['mountPath']}/")
