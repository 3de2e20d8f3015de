"""An authority in a folder, what it issues, and what is found wrong with files before they are used."""

import shutil
import stat
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from builders.certificates import YEAR, folder_of, issued, now
from gradloom import certificate_folder
from gradloom.certificate_files import read_material
from gradloom.certificate_folder import found_authority, held_in, renew_in
from gradloom.certificates import CertificateRole, Wish, certificate_role_named, check_wish
from gradloom.errors import Conflict, InvalidInput, NotFound
from gradloom.tls import TlsFiles
from gradloom.whole_files import alone


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "certs")


def refusal(files: TlsFiles, later: timedelta = timedelta()) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        read_material(files, now() + later)
    return refused.value


# ---- the folder


def test_what_is_issued_fits_together_and_keys_are_for_their_owner_alone(folder: Path) -> None:
    for name in ("coordinator", "worker", "admin"):
        material = read_material(TlsFiles.of(folder, name), now())
        assert (material.name, material.issuer) == (name, "gradloom authority")
    assert "PRIVATE" not in repr(material)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert {modes[name] for name in modes if name.endswith(".key")} == {0o600}
    assert {modes[name] for name in modes if name.endswith(".pem")} == {0o644}
    assert (folder / ".gitignore").read_text().endswith("*\n")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_finds_nothing_wrong_with_them(folder: Path) -> None:
    chain = ["openssl", "verify", "-x509_strict", "-CAfile", str(folder / "ca.pem")]
    for purpose, name in (
        ("sslserver", "coordinator"),
        ("sslclient", "coordinator"),
        ("sslclient", "worker"),
    ):
        subprocess.run(
            [*chain, "-purpose", purpose, str(folder / f"{name}.pem")], check=True, capture_output=True
        )
    for purpose, name in (("sslserver", "worker"), ("sslserver", "admin")):
        run = subprocess.run([*chain, "-purpose", purpose, str(folder / f"{name}.pem")], capture_output=True)
        assert run.returncode != 0, f"{name} may not serve"


def test_names_roles_and_hosts_stand_in_the_certificate(folder: Path) -> None:
    issued(folder, "gate", "coordinator", ("gate.example", "*.example", "10.1.2.3", "2001:db8::1"))
    (gate,) = [held for held in held_in(folder, now()) if held.name == "gate"]
    assert (gate.role, gate.hosts) == (
        "coordinator",
        ("gate.example", "*.example", "10.1.2.3", "2001:db8::1"),
    )
    certificate = x509.load_pem_x509_certificate((folder / "gate.pem").read_bytes())
    assert certificate.subject.rfc4514_string() == "OU=coordinator,CN=gate"


def test_nothing_is_replaced_without_force(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(Conflict, match="--force"):
        found_authority(folder, now())
    with pytest.raises(Conflict, match="--force"):
        certificate_folder.issue_into(folder, Wish("admin", CertificateRole.ADMIN, (), 1.0), now())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    found_authority(folder, now(), force=True)
    assert {held.state for held in held_in(folder, now()) if held.name != "ca"} == {"foreign"}


def test_what_is_due_is_renewed_with_its_name_role_hosts_and_key(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "certs", now() - timedelta(days=61))
    fresh = issued(folder, "fresh").cert.read_bytes()
    states = {held.name: held.state for held in held_in(folder, now())}
    assert (states["admin"], states["fresh"], states["ca"]) == ("due", "valid", "valid")
    key = (folder / "coordinator.key").read_bytes()
    before = {held.name: held for held in held_in(folder, now())}["coordinator"]
    renewed = {held.name: held for held in renew_in(folder, now())}
    assert set(renewed) == {"coordinator", "worker", "admin"}
    after = renewed["coordinator"]
    assert (after.role, after.hosts, after.state) == (before.role, before.hosts, "valid")
    assert timedelta(days=89) < after.valid_until - now() <= timedelta(days=90)
    assert (folder / "coordinator.key").read_bytes() == key
    assert (folder / "fresh.pem").read_bytes() == fresh
    assert not renew_in(folder, now())
    assert len(renew_in(folder, now(), everything=True, new_keys=True)) == 4
    assert (folder / "coordinator.key").read_bytes() != key
    read_material(TlsFiles.of(folder, "coordinator"), now())


def test_a_pair_that_was_torn_apart_is_mended_by_a_renewal(folder: Path) -> None:
    shutil.copy(folder / "worker.key", folder / "admin.key")  # as if killed between two files
    assert refusal(TlsFiles.of(folder, "admin")).field == "tls_key"
    assert [held.name for held in renew_in(folder, now())] == ["admin"]
    read_material(TlsFiles.of(folder, "admin"), now())


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    found_authority(tmp_path, now(), days=10.0)
    issued(tmp_path, "ann", days=90.0)
    ca, ann = held_in(tmp_path, now())
    assert ann.valid_until == ca.valid_until


def test_two_processes_don_t_write_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradloom.whole_files.LOCK_LIMIT_S", 0.05)
    with alone(folder), pytest.raises(Conflict, match="another process"):
        renew_in(folder, now())


def test_a_folder_without_an_authority_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="gradloom certs init --dir"):
        held_in(tmp_path, now())
    with pytest.raises(NotFound, match="gradloom certs init --dir"):
        renew_in(tmp_path / "nowhere", now())
    found_authority(tmp_path, now())
    (tmp_path / "ca.key").unlink()
    with pytest.raises(NotFound, match="where the authority is kept"):
        issued(tmp_path, "ann")


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (Wish("../ann", CertificateRole.ADMIN, (), 1.0), "name"),
        (Wish("", CertificateRole.ADMIN, (), 1.0), "name"),
        (Wish("a" * 65, CertificateRole.ADMIN, (), 1.0), "name"),
        (Wish("ann", CertificateRole.ADMIN, (), 0.0), "days"),
        (Wish("ann", CertificateRole.ADMIN, (), float("nan")), "days"),
        (Wish("ann", CertificateRole.ADMIN, (), 1e9), "days"),
        (Wish("c", CertificateRole.COORDINATOR, (), 1.0), "host"),
        (Wish("c", CertificateRole.COORDINATOR, ("https://c",), 1.0), "host"),
        (Wish("c", CertificateRole.COORDINATOR, ("c:50051",), 1.0), "host"),
        (Wish("c", CertificateRole.COORDINATOR, ("a" * 300,), 1.0), "host"),
        (Wish("c", CertificateRole.COORDINATOR, ("c",) * 101, 1.0), "host"),
    ],
)
def test_what_can_t_be_issued_is_refused(wish: Wish, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_wish(wish)
    assert refused.value.field == field


def test_a_role_is_one_of_a_few() -> None:
    assert certificate_role_named(" Worker ") is CertificateRole.WORKER
    with pytest.raises(InvalidInput, match="Did you mean 'operator'"):
        certificate_role_named("operater")


# ---- the files of one party


def test_a_file_that_is_missing_or_something_else_is_named(folder: Path) -> None:
    good = TlsFiles.of(folder, "admin")
    gone = folder / "gone.pem"
    assert "No such file" in refusal(TlsFiles(gone, good.cert, good.key)).problem
    assert "private key" in refusal(TlsFiles(good.ca, good.key, good.key)).problem
    assert "a certificate" in refusal(TlsFiles(good.ca, good.cert, good.cert)).problem
    (folder / "empty").write_bytes(b"")
    for field, files in {
        "tls_ca": TlsFiles(folder / "empty", good.cert, good.key),
        "tls_cert": TlsFiles(good.ca, folder / "empty", good.key),
        "tls_key": TlsFiles(good.ca, good.cert, folder / "empty"),
    }.items():
        assert refusal(files).field == field
    assert "longer than" in refusal(TlsFiles(Path("/dev/zero"), good.cert, good.key)).problem


def test_a_key_of_another_certificate_is_refused(folder: Path) -> None:
    refused = refusal(TlsFiles(folder / "ca.pem", folder / "admin.pem", folder / "worker.key"))
    assert refused.field == "tls_key"
    assert "does not belong to the certificate of admin" in refused.problem


def test_a_key_with_a_password_and_one_that_grpc_does_not_take_are_refused(folder: Path) -> None:
    good = TlsFiles.of(folder, "admin")
    key = serialization.load_pem_private_key(good.key.read_bytes(), None)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked = folder / "locked.key"
    locked.write_bytes(key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"secret")))
    assert "encrypted" in refusal(TlsFiles(good.ca, good.cert, locked)).problem
    locked.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(pem, pkcs8, serialization.NoEncryption())
    )
    assert "EC (P-256) or RSA" in refusal(TlsFiles(good.ca, good.cert, locked)).problem


def test_dates_are_held_against_this_machine_s_clock(folder: Path) -> None:
    files = TlsFiles.of(folder, "admin")
    assert "has expired: it was valid until" in refusal(files, YEAR).problem
    assert "not valid yet" in refusal(files, -YEAR).problem


def test_a_certificate_of_another_authority_is_refused_unless_both_are_trusted(
    folder: Path, tmp_path: Path
) -> None:
    other = folder_of(tmp_path / "other")
    mixed = TlsFiles(other / "ca.pem", folder / "admin.pem", folder / "admin.key")
    refused = refusal(mixed)
    assert refused.field == "tls_cert"
    assert "holds only gradloom authority" in refused.problem
    bundle = tmp_path / "both.pem"
    bundle.write_bytes((other / "ca.pem").read_bytes() + (folder / "ca.pem").read_bytes())
    read_material(TlsFiles(bundle, mixed.cert, mixed.key), now())


def test_certificates_between_one_s_own_and_the_authority_are_followed(folder: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import hashes

    from gradloom.certificates import issue, key_from, make_authority

    root = make_authority("root", 100.0, now())
    below = make_authority("between", 50.0, now())
    between = (
        x509.CertificateBuilder()
        .subject_name(below.certificate.subject)
        .issuer_name(root.certificate.subject)
        .public_key(below.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(below.certificate.not_valid_before_utc)
        .not_valid_after(below.certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root.key, hashes.SHA256())
    )
    leaf = issue(below, Wish("ann", CertificateRole.ADMIN, (), 1.0), now())
    files = TlsFiles(tmp_path / "ca.pem", tmp_path / "ann.pem", tmp_path / "ann.key")
    files.ca.write_bytes(root.certificate_pem)
    files.key.write_bytes(leaf.key_pem)
    files.cert.write_bytes(leaf.certificate_pem)
    assert "issued by between" in refusal(files).problem
    files.cert.write_bytes(leaf.certificate_pem + between.public_bytes(serialization.Encoding.PEM))
    assert read_material(files, now()).issuer == "between"
    assert key_from(leaf.key_pem).public_key() == leaf.certificate.public_key()
