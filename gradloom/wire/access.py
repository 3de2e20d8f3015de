"""Callers and audit records between values and messages."""

from gradloom.callers import AuditEntry, CallerView
from gradloom.v1 import cluster_service_pb2
from gradloom.wire.times import get_time, set_time


def caller_to_proto(view: CallerView) -> cluster_service_pb2.WhoAmIResponse:
    """A caller as a message."""
    response = cluster_service_pb2.WhoAmIResponse(name=view.name, role=view.role, how=view.how)
    if view.expires is not None:
        set_time(response.expires, view.expires)
    return response


def caller_from_proto(response: cluster_service_pb2.WhoAmIResponse) -> CallerView:
    """A caller as a value."""
    expires = get_time(response.expires) if response.HasField("expires") else None
    return CallerView(response.name, response.role, response.how, expires)


def audit_to_proto(entry: AuditEntry) -> cluster_service_pb2.AuditRecord:
    """A record as a message."""
    record = cluster_service_pb2.AuditRecord(
        who=entry.who,
        role=entry.role,
        how=entry.how,
        peer=entry.peer,
        method=entry.method,
        subject=entry.subject,
        fields=entry.fields,
        result=entry.result,
        detail=entry.detail,
    )
    set_time(record.at, entry.at)
    return record


def audit_from_proto(record: cluster_service_pb2.AuditRecord) -> AuditEntry:
    """A record as a value."""
    return AuditEntry(
        at=get_time(record.at),
        who=record.who,
        role=record.role,
        how=record.how,
        peer=record.peer,
        method=record.method,
        subject=record.subject,
        fields=dict(sorted(record.fields.items())),
        result=record.result,
        detail=record.detail,
    )
