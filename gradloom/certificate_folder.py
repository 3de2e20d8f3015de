"""A folder with an authority of one's own and the certificates that it has issued: NAME.pem beside NAME.key.

Files appear whole. A renewal keeps the key unless asked for another, so that there is no moment in which the two files
of a name don't fit together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from gradloom.certificate_files import certificates_in, issued_by, name_of, read_pem
from gradloom.certificates import (
    CertificateRole,
    Pair,
    Wish,
    check_wish,
    hosts_in,
    is_due,
    issue,
    key_from,
    make_authority,
    wish_of,
)
from gradloom.errors import Conflict, InvalidInput, NotFound
from gradloom.whole_files import PUBLIC, SECRET, alone, write_whole

CA = "ca"
AUTHORITY_NAME = "gradloom authority"
AUTHORITY_DAYS = 3650.0
KEEP_OUT = b"# Keys belong in no repository.\n*\n"


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate in a folder, as people want to see it."""

    name: str
    role: str
    """Empty = none that we know."""
    hosts: tuple[str, ...]
    issuer: str
    valid_from: datetime
    valid_until: datetime
    state: str
    """``valid``, ``due`` (in the last third of its life), ``expired``, ``not valid yet`` or ``foreign``."""
    cert: Path
    key: Path | None
    """None = its key is not here."""


def found_authority(
    folder: Path, now: datetime, *, days: float = AUTHORITY_DAYS, force: bool = False
) -> Held:
    """Make an authority in a folder, which is made if need be.

    Raises InvalidInput, Conflict if there is one already and ``force`` is not given: whatever it has signed is then
    worth nothing.
    """
    authority = make_authority(AUTHORITY_NAME, days, now)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput("dir", f"{folder} can't be made: {error.strerror}") from None
    with _writing(folder):
        _check_absent(folder, CA, force)
        if not (folder / ".gitignore").exists():
            write_whole(folder / ".gitignore", KEEP_OUT, PUBLIC)
        _keep(folder, CA, authority)
    return _held(folder, CA, authority.certificate, now, authority.certificate)


def issue_into(folder: Path, wish: Wish, now: datetime, *, force: bool = False) -> Held:
    """Issue a certificate with a new key. Raises InvalidInput, NotFound, Conflict if the name has one already."""
    check_wish(wish)
    if wish.name == CA:
        raise InvalidInput("name", f"{CA!r} is the authority's own; choose another")
    with _writing(folder):
        authority = _authority(folder)
        _check_absent(folder, wish.name, force)
        pair = issue(authority, wish, now)
        _keep(folder, wish.name, pair)
    return _held(folder, wish.name, pair.certificate, now, authority.certificate)


def renew_in(folder: Path, now: datetime, *, everything: bool = False, new_keys: bool = False) -> list[Held]:
    """Issue anew what is in the last third of its life, or all; what has been renewed.

    Each keeps its name, role, hosts and length of life. Raises InvalidInput, NotFound.
    """
    renewed = []
    with _writing(folder):
        authority = _authority(folder)
        for name, certificate in _certificates(folder):
            if not issued_by(certificate, authority.certificate) or name == CA:
                continue
            key = _key_of(folder, name, certificate)
            torn = key is None and (folder / f"{name}.key").exists()
            if everything or torn or is_due(certificate, now):
                key = None if new_keys else key
                pair = issue(authority, _wish(name, certificate), now, key)
                _keep(folder, name, pair, with_key=key is None)
                renewed.append(_held(folder, name, pair.certificate, now, authority.certificate))
    return renewed


def held_in(folder: Path, now: datetime) -> list[Held]:
    """All certificates of a folder by name, the authority first. Raises InvalidInput, NotFound."""
    if not (folder / f"{CA}.pem").exists():
        raise NotFound(_no_authority(folder))
    authority = certificates_in("dir", folder / f"{CA}.pem", read_pem("dir", folder / f"{CA}.pem"))[0]
    found = [_held(folder, name, certificate, now, authority) for name, certificate in _certificates(folder)]
    return sorted(found, key=lambda held: (held.cert.stem != CA, held.cert.stem))


def _held(
    folder: Path, name: str, certificate: x509.Certificate, now: datetime, authority: x509.Certificate
) -> Held:
    try:
        role = str(wish_of(certificate).role)
    except ValueError:
        role = "authority" if name == CA else ""
    return Held(
        name,
        role,
        hosts_in(certificate),
        name_of(certificate.issuer),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        _state(certificate, authority, now),
        folder / f"{name}.pem",
        key if (key := folder / f"{name}.key").exists() else None,
    )


def _state(certificate: x509.Certificate, authority: x509.Certificate, now: datetime) -> str:
    if not issued_by(certificate, authority):
        return "foreign"
    if now > certificate.not_valid_after_utc:
        return "expired"
    if now < certificate.not_valid_before_utc:
        return "not valid yet"
    return "due" if is_due(certificate, now) else "valid"


def _authority(folder: Path) -> Pair:
    cert, key = folder / f"{CA}.pem", folder / f"{CA}.key"
    if not cert.exists():
        raise NotFound(_no_authority(folder))
    if not key.exists():
        raise NotFound(
            f"{key} is not there: without it nothing can be signed; issue where the authority is kept"
        )
    certificate = certificates_in("dir", cert, read_pem("dir", cert))[0]
    try:
        pair = Pair(certificate, key_from(read_pem("dir", key)))
    except (ValueError, TypeError):
        raise InvalidInput("dir", f"{key} holds no EC private key in PEM without a password") from None
    if pair.key.public_key() != certificate.public_key():
        raise InvalidInput("dir", f"{key} does not belong to {cert}")
    return pair


def _no_authority(folder: Path) -> str:
    return f"{folder} holds no authority ({CA}.pem); make one with: gradloom certs init --dir {folder}"


def _certificates(folder: Path) -> Iterator[tuple[str, x509.Certificate]]:
    for path in sorted(folder.glob("*.pem")):
        yield path.stem, certificates_in("dir", path, read_pem("dir", path))[0]


def _wish(name: str, certificate: x509.Certificate) -> Wish:
    try:
        return wish_of(certificate)
    except ValueError:
        known = ", ".join(CertificateRole)
        raise InvalidInput(
            "dir", f"{name}.pem says no role that is known ({known}); issue it again"
        ) from None


def _key_of(folder: Path, name: str, certificate: x509.Certificate) -> EllipticCurvePrivateKey | None:
    """The key of a name; None if there is none, or it is another's."""
    path = folder / f"{name}.key"
    try:
        key = key_from(read_pem("dir", path)) if path.exists() else None
    except (ValueError, TypeError):
        return None
    return key if key is not None and key.public_key() == certificate.public_key() else None


def _check_absent(folder: Path, name: str, force: bool) -> None:
    for path in (folder / f"{name}.pem", folder / f"{name}.key"):
        if path.exists() and not force:
            raise Conflict(
                f"{path} is there already; --force replaces it, and what relied on it must be replaced too"
            )


def _keep(folder: Path, name: str, pair: Pair, *, with_key: bool = True) -> None:
    if with_key:
        write_whole(folder / f"{name}.key", pair.key_pem, SECRET)
    write_whole(folder / f"{name}.pem", pair.certificate_pem, PUBLIC)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Alone with a folder that is there."""
    if not folder.is_dir():
        raise NotFound(_no_authority(folder))
    try:
        with alone(folder):
            yield
    except OSError as error:
        raise InvalidInput("dir", f"{error.filename or folder} can't be written: {error.strerror}") from None
