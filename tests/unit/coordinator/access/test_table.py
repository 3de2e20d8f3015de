"""Every method of every service has its row, and every row its method."""

import re
from collections.abc import Callable
from pathlib import Path

from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from gradloom.roles import Role
from gradloom.settings import CoordinatorSettings
from gradloom.v1 import cluster_service_pb2, job_service_pb2, worker_service_pb2
from gradloom_coordinator import servicers
from gradloom_coordinator.access.table import CHANGING, RULES, Rule
from gradloom_coordinator.runtime import Coordinator
from gradloom_coordinator.worker_servicer import WorkerServicer

FILES = (job_service_pb2, cluster_service_pb2, worker_service_pb2, health_pb2, reflection_pb2)
BY_HAND = {"/gradloom.v1.WorkerService/Bulk"}
"""Methods that no .proto knows: what goes through them is raw."""


def descriptors() -> list[ServiceDescriptor]:
    return [service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()]


def test_every_method_of_the_protos_has_a_row_and_every_row_a_method() -> None:
    methods = {f"/{service.full_name}/{m.name}" for service in descriptors() for m in service.methods}
    assert len(methods) > 25
    assert methods | BY_HAND == set(RULES)


def test_what_is_registered_by_hand_has_a_row_and_is_for_workers(tmp_path: Path) -> None:
    handler = WorkerServicer(Coordinator(CoordinatorSettings(data_dir=tmp_path))).handler()
    methods = set(handler._method_handlers)
    assert methods >= BY_HAND
    assert {method for method, rule in RULES.items() if rule.role is Role.WORKER} == methods


def test_every_change_goes_through_what_writes_the_audit_log() -> None:
    kinds = (servicers.JobServicer, servicers.ClusterServicer)
    recorded = {
        name
        for kind in kinds
        for name, member in vars(kind).items()
        if hasattr(member, "__wrapped__")  # by answering_errors
    }
    assert recorded >= CHANGING


def test_whoever_reads_changes_nothing_and_whoever_changes_something_is_no_viewer() -> None:
    for method, rule in RULES.items():
        if rule.changes:
            assert rule.role in (Role.OPERATOR, Role.ADMIN), method
        if not rule.asked:
            assert method.startswith("/grpc.health.v1.")


def test_the_page_on_security_has_the_same_table() -> None:
    """docs/security.md, "Who may do what": a row for each role, with the methods in backticks."""
    page = (Path(__file__).parents[4] / "docs" / "security.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (.+?) \| (`\w+/\w+`.*) \|$", page, flags=re.MULTILINE))

    def methods(wanted: Callable[[Rule], bool]) -> set[str]:
        return {method.rpartition(".")[2] for method, rule in RULES.items() if wanted(rule)}

    written = {who: set(re.findall(r"`([^`]+)`", names)) for who, names in rows.items()}
    assert written == {
        "nobody is asked": methods(lambda rule: not rule.asked),
        "anybody who is known": methods(lambda rule: rule.asked and rule.role is None),
        **{f"**{role}**": methods(lambda rule, role=role: rule.role is role) for role in Role},
    }
