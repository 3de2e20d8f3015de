"""Certificates and plain text: facts -> findings. Pure."""

from collections.abc import Iterator

from gradloom.doctor.facts import Facts, Finding, Level, TlsFact

FEW_DAYS = 14.0
DAY_S = 86_400.0
OTHERS = 0o077
"""Permission bits of everybody but the owner."""


def trust(facts: Facts) -> Iterator[Finding]:
    """Whether what is said stays between those who should hear it."""
    if facts.tls is None:
        yield from _plain(facts)
        return
    tls = facts.tls
    if tls.problem:
        mend = "gradloom certs show tells what is there; gradloom certs renew makes it anew: docs/tls.md"
        yield Finding(Level.BAD, "certificates", tls.problem, mend)
        return
    yield _days(facts, tls)
    served = f", for {', '.join(tls.hosts)}" if tls.hosts else ""
    yield Finding(Level.OK, "certificates", f"{tls.name}, issued by {tls.issuer}{served}")
    if tls.key_mode & OTHERS:
        what = f"others than you can read or change {tls.key_path} (mode {tls.key_mode:03o})"
        yield Finding(Level.WARN, "certificates", what, f"chmod 600 {tls.key_path}")
    if facts.insecure:
        what = "--insecure (GRADLOOM_INSECURE) is set beside the files of TLS"
        yield Finding(Level.WARN, "certificates", what, "take it away: TLS does not need it")


def _days(facts: Facts, tls: TlsFact) -> Finding:
    days = (tls.valid_until - facts.now).total_seconds() / DAY_S
    until = f"the certificate of {tls.name} is valid until {tls.valid_until:%Y-%m-%d %H:%M} UTC"
    mend = "gradloom certs renew; services take the new files without a restart"
    if days <= 0:
        return Finding(Level.BAD, "certificates", f"the certificate of {tls.name} has expired: {until}", mend)
    if days < FEW_DAYS:
        return Finding(Level.WARN, "certificates", f"{until}: {days:.1f} days are left", mend)
    return Finding(Level.OK, "certificates", f"{until}: {days:.0f} days are left")


def _plain(facts: Facts) -> Iterator[Finding]:
    remote = facts.cluster is not None and not facts.cluster.loopback
    if facts.insecure:
        what = "INSECURE: plain text may leave this machine (--insecure, GRADLOOM_INSECURE)"
        mend = "gradloom certs init makes certificates; give all sides --tls-ca, --tls-cert and --tls-key: docs/tls.md"
        yield Finding(Level.WARN, "certificates", what, mend)
    elif not remote:
        yield Finding(Level.OK, "certificates", "no TLS: plain text, which only this machine may speak")
