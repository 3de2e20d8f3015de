"""Which role each method of the coordinator's port needs, and which methods change something.

A method that is not listed is refused to everybody but where nobody is asked; a test walks all services and fails for
one that is missing here, or is no longer there.

Why so: **viewers** read, and ask models, for a question changes nothing. **Operators** do what a person on duty does
with jobs and workers: all of it is recorded, can be undone or repeated, and an upload goes only once no job uses it.
**Admins** do harm on purpose (faults), and read who did what. **Workers** speak as workers and can't submit, so that a
stolen worker's key does not steer; people can't be workers, for a worker sees rows and decides sums. Who is known may
hear who they are. Probes are answered for anybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gradloom.roles import Role


@dataclass(frozen=True, slots=True)
class Rule:
    """What a method needs."""

    role: Role | None
    """None = any."""
    changes: bool = False
    """Whether it is written into the audit log."""
    asked: bool = True
    """Whether the caller must be known at all."""


_READ = Rule(Role.VIEWER)
_STEER = Rule(Role.OPERATOR, changes=True)
_HARM = Rule(Role.ADMIN, changes=True)
_ANYBODY = Rule(None, asked=False)

_SERVICES: Mapping[str, Mapping[str, Rule]] = {
    "gradloom.v1.JobService": {
        "GetJob": _READ,
        "ListJobs": _READ,
        "WatchJob": _READ,
        "GetTrace": _READ,
        "GetModel": _READ,
        "Query": _READ,
        "ListAlgorithms": _READ,
        "SubmitJob": _STEER,
        "UpdateJob": _STEER,
        "PauseJob": _STEER,
        "ResumeJob": _STEER,
        "StepJob": _STEER,
        "RollbackJob": _STEER,
        "AnnotateJob": _STEER,
        "CancelJob": _STEER,
        "Upload": _STEER,
        "DeleteUpload": _STEER,
    },
    "gradloom.v1.ClusterService": {
        "WhoAmI": Rule(None),
        "ListWorkers": _READ,
        "WatchCluster": _READ,
        "Explain": _READ,
        "DrainWorker": _STEER,
        "ExcludeWorker": _STEER,
        "ReadmitWorker": _STEER,
        "InjectFault": _HARM,
        "ListAudit": Rule(Role.ADMIN),
    },
    "gradloom.v1.WorkerService": {"Session": Rule(Role.WORKER), "Bulk": Rule(Role.WORKER)},
    "grpc.health.v1.Health": {"Check": _ANYBODY, "Watch": _ANYBODY, "List": _ANYBODY},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": _READ},
}

RULES: Mapping[str, Rule] = {
    f"/{service}/{method}": rule for service, rules in _SERVICES.items() for method, rule in rules.items()
}
"""By full method name, as it stands on the wire."""


CHANGING = frozenset(method.rpartition("/")[2] for method, rule in RULES.items() if rule.changes)
"""Methods of people that are written into the audit log, without their services."""


def short(method: str) -> str:
    """The method without its service."""
    return method.rpartition("/")[2]
