"""The audit log: what it says, what it hides, how long it grows."""

import json
import os
import stat
from pathlib import Path

import pytest
from google.protobuf import field_mask_pb2

from gradloom.callers import AuditEntry
from gradloom.errors import InvalidInput, NotFound
from gradloom.roles import Role
from gradloom.v1 import cluster_service_pb2, data_pb2, job_pb2, job_service_pb2
from gradloom_coordinator.access.audit import FILES, AuditLog, fields_of
from gradloom_coordinator.access.callers import Caller
from gradloom_coordinator.access.identity import How, Identity

ANN = Caller(Identity("ann", Role.OPERATOR, How.TOKEN), "ipv4:10.0.0.7:4711", "somebody@laptop")


@pytest.fixture
def audit(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path, clock=lambda: 1.7e9)


def pause(job: str, reason: str = "") -> job_service_pb2.PauseJobRequest:
    return job_service_pb2.PauseJobRequest(job_id=job, reason=reason)


def test_a_change_is_written_with_who_what_from_where_when_and_how_it_went(
    audit: AuditLog, tmp_path: Path
) -> None:
    audit.write(ANN, "PauseJob", pause("job-1", "too hot"))
    audit.write(ANN, "PauseJob", pause("job-2"), error=NotFound("there is no job 'job-2'"))
    one, other = audit.last(10)
    assert one == AuditEntry(
        at=1.7e9,
        who="ann",
        role="operator",
        how="token",
        peer="ipv4:10.0.0.7:4711",
        method="PauseJob",
        subject="job-1",
        fields={"reason": "too hot"},
        result="ok",
        detail="",
    )
    assert (other.subject, other.result, other.detail) == ("job-2", "NotFound", "there is no job 'job-2'")
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 2


def test_where_nobody_is_asked_it_says_who_they_said_they_are(audit: AuditLog) -> None:
    audit.write(Caller(peer="ipv4:127.0.0.1:1", says="bob@laptop"), "PauseJob", pause("job-1"))
    audit.write(Caller(peer="ipv4:127.0.0.1:1"), "PauseJob", pause("job-1"))
    assert [(one.who, one.how) for one in audit.last(2)] == [
        ("bob@laptop", "open"),
        ("ipv4:127.0.0.1:1", "open"),
    ]


def test_a_new_job_is_named_by_the_answer(audit: AuditLog) -> None:
    spec = job_pb2.JobSpec(algorithm="logistic", data=data_pb2.DataSpec(uris=["/data/a.csv"], target="late"))
    request = job_service_pb2.SubmitJobRequest(spec=spec, client_token="abc")
    audit.write(ANN, "SubmitJob", request, job_service_pb2.SubmitJobResponse(job=job_pb2.Job(job_id="job-9")))
    (entry,) = audit.last(1)
    assert entry.subject == "job-9"
    assert entry.fields["spec.algorithm"] == "logistic"
    assert entry.fields["spec.data.uris"] == "/data/a.csv"
    assert "abc" not in json.dumps(dict(entry.fields))


def test_of_a_change_it_says_what_is_changed_and_nothing_else() -> None:
    spec = job_pb2.JobSpec(algorithm="logistic", codec="int8", settings={"learning_rate": "0.1", "l2": "3"})
    request = job_service_pb2.UpdateJobRequest(job_id="job-1", spec=spec)
    request.update_mask.paths.extend(["codec", "settings.learning_rate"])
    assert fields_of("UpdateJob", request) == {
        "job_id": "job-1",
        "codec": "int8",
        "settings.learning_rate": "0.1",
    }


@pytest.mark.parametrize("path", ["settings.C", "settings.l2_1", "settings.a__b"])
def test_a_change_of_any_setting_is_written_down(path: str) -> None:
    spec = job_pb2.JobSpec(settings={path.removeprefix("settings."): "2"})
    request = job_service_pb2.UpdateJobRequest(job_id="job-1", spec=spec)
    request.update_mask.paths.append(path)
    assert fields_of("UpdateJob", request) == {"job_id": "job-1", path: "2"}


def test_what_can_not_be_shown_is_written_down_without_its_fields() -> None:
    mask = field_mask_pb2.FieldMask(paths=["settings.C"])
    assert fields_of("Whatever", mask) == {"request": "can't be shown (ValueError)"}
    request = job_service_pb2.UpdateJobRequest(job_id="job-1", update_mask=mask)
    assert fields_of("Whatever", request)["job_id"] == "job-1"


def test_a_damaged_byte_costs_no_other_line(audit: AuditLog, tmp_path: Path) -> None:
    for job in ("job-1", "job-2", "job-3"):
        audit.write(ANN, "PauseJob", pause(job))
    path = tmp_path / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b"job-2", b"job-\xff"))
    assert [entry.subject for entry in audit.last(10)] == ["job-1", "job-\ufffd", "job-3"]


def test_passwords_are_not_written() -> None:
    data = data_pb2.DataSpec(
        uris=["s3://key:hush@bucket/a.csv", "https://host/a?X-Amz-Signature=hush", "/data/b@c.csv"]
    )
    spec = job_pb2.JobSpec(algorithm="logistic", data=data, settings={"api_key": "hush", "l2": "3"})
    fields = fields_of("SubmitJob", job_service_pb2.SubmitJobRequest(spec=spec))
    assert fields["spec.data.uris"] == "s3://***@bucket/a.csv, https://host/a?***, /data/b@c.csv"
    assert "hush" not in json.dumps(fields)
    assert fields["spec.settings.l2"] == "3"


def test_long_values_are_cut_and_line_breaks_stay_inside_a_line(audit: AuditLog, tmp_path: Path) -> None:
    audit.write(ANN, "DrainWorker", cluster_service_pb2.DrainWorkerRequest(worker="w", reason="x\n" * 10_000))
    (line,) = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert len(line) < 1000


def test_many_fields_are_cut_too() -> None:
    spec = job_pb2.JobSpec(settings={f"s{i}": "1" for i in range(10_000)})
    assert len(fields_of("SubmitJob", job_service_pb2.SubmitJobRequest(spec=spec))) <= 60


def test_the_log_is_bounded_and_the_newest_stays(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, file_bytes=2000)
    for number in range(200):
        audit.write(ANN, "PauseJob", pause(f"job-{number}"))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["audit.1.jsonl", "audit.2.jsonl", "audit.3.jsonl", "audit.4.jsonl", "audit.jsonl"]
    assert len(files) == FILES
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    kept = audit.last(10_000)
    first = 200 - len(kept)
    assert first > 100
    assert [entry.subject for entry in kept] == [f"job-{number}" for number in range(first, 200)]
    assert [entry.subject for entry in audit.last(3)] == ["job-197", "job-198", "job-199"]


def test_only_its_owner_may_read_it(audit: AuditLog, tmp_path: Path) -> None:
    audit.write(ANN, "PauseJob", pause("job-1"))
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600


def test_it_goes_on_after_a_restart_also_behind_a_line_that_was_cut_short(
    audit: AuditLog, tmp_path: Path
) -> None:
    audit.write(ANN, "PauseJob", pause("job-1"))
    audit.close()
    with (tmp_path / "audit.jsonl").open("a") as file:
        file.write('{"at": 1.0, "who": "a')
    again = AuditLog(tmp_path)
    again.write(ANN, "PauseJob", pause("job-2"))
    assert [entry.subject for entry in again.last(10)] == ["job-1", "job-2"]


def test_a_disk_that_takes_nothing_stops_nobody_and_is_told_once(
    audit: AuditLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        audit.write(ANN, "PauseJob", pause("job-1"))
        audit.write(ANN, "PauseJob", pause("job-2"))
    assert [record.getMessage() for record in caplog.records] == [
        "the audit log can't be written: [Errno 28] No space left on device"
    ]
    audit.write(ANN, "PauseJob", pause("job-3"))
    assert [entry.subject for entry in audit.last(10)] == ["job-3"]


def test_what_is_asked_of_it_is_bounded(audit: AuditLog) -> None:
    assert audit.last(0) == []
    with pytest.raises(InvalidInput, match="last: 10001 is not allowed"):
        audit.last(10_001)


def test_letters_that_would_steer_a_terminal_are_written_out(audit: AuditLog) -> None:
    odd = Caller(Identity("a\x1b[31mnn", Role.OPERATOR, How.CERTIFICATE), "unix:")
    audit.write(odd, "PauseJob", pause("job\r1", "line\nbreak \x1b]0;title\x07 \u202e é"))
    (entry,) = audit.last(1)
    assert (entry.who, entry.subject) == ("a\\x1b[31mnn", "job\\x0d1")
    assert entry.fields == {"reason": "line\\nbreak \\x1b]0;title\\x07 \\u202e é"}
