"""Finds out why no secure connection comes about, by trying one whose failure says more than gRPC's.

gRPC reports a refused certificate, a server that speaks plain text, and a server that is not there with one status
and words like "Socket closed". Nothing is sent here but a greeting, and every step has a limit.
"""

import socket
import ssl
from dataclasses import dataclass

from gradloom.tls import TlsFiles, host_and_port, hosts_of, join_host_port

LIMIT_S = 2.0
"""Of each step: to connect, to shake hands, to hear a first word."""
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""How HTTP/2 begins: the preface, and empty settings."""
NOT_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
    }
)
HOW_TO_ENCRYPT = (
    "give this side the files of TLS as well: --tls-ca, --tls-cert and --tls-key, or GRADLOOM_TLS_CA, ..._CERT and"
    " ..._KEY, or Client(tls=TlsFiles(...))"
)
_EXPIRED, _NOT_YET = 10, 9
_OTHER_NAME = frozenset({62, 64})


@dataclass(frozen=True, slots=True)
class _Place:
    host: str
    port: int

    @property
    def text(self) -> str:
        return join_host_port(self.host, self.port)

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), LIMIT_S)


def find_trouble(address: str, files: TlsFiles | None, shown: str = "") -> str:
    """Why ``address`` can't be spoken to securely, in a sentence; empty if that is not what is wrong.

    ``files`` are this side's, None = it speaks plain text; ``shown`` says which certificate it shows.
    """
    place = _place(address)
    if place is None:
        return ""
    try:
        return _in_plain_text(place) if files is None else _over_tls(place, files, shown)
    except (OSError, ValueError):  # it is not there, or a file of ours is gone: others say so
        return ""


def _place(address: str) -> _Place | None:
    """The one host and port that a target names; None if it names several, or none."""
    if len(hosts_of(address)) != 1:
        return None
    rest = address.rpartition("/")[2].removeprefix("dns:").removeprefix("ipv4:").removeprefix("ipv6:")
    host, port = host_and_port(rest)
    return _Place(host, int(port)) if port.isdigit() else None


def _in_plain_text(place: _Place) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only whether it speaks TLS is of interest
    context.set_alpn_protocols(["h2"])
    with place.connect() as plain:
        try:
            context.wrap_socket(plain).close()
        except ssl.SSLEOFError:
            return ""
        except ssl.SSLError as error:
            if "ALERT" not in (error.reason or ""):
                return ""
    return f"the cluster at {place.text} speaks TLS, and this side does not; {HOW_TO_ENCRYPT}"


def _over_tls(place: _Place, files: TlsFiles, shown: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as gRPC does
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.cert, files.key)
    with place.connect() as plain:
        try:
            with context.wrap_socket(plain, server_hostname=place.host) as wrapped:
                return "" if _is_welcome(wrapped) else _refused(place, shown)
        except ssl.SSLCertVerificationError as error:
            return _distrusted(place, files, error)
        except ssl.SSLEOFError:
            return _refused(place, shown)
        except ssl.SSLError as error:
            return _other(place, shown, error.reason or str(error))


def _is_welcome(wrapped: ssl.SSLSocket) -> bool:
    """In TLS 1.3 the server looks at our certificate when we think that all is well: it speaks, or hangs up."""
    try:
        wrapped.sendall(GREETING)
        return bool(wrapped.recv(1))
    except TimeoutError:
        return True
    except ssl.SSLError as error:
        return "ALERT" not in (error.reason or "") and not isinstance(error, ssl.SSLEOFError)
    except ConnectionError:
        return False


def _refused(place: _Place, shown: str) -> str:
    which = shown or "the certificate of this side"
    return (
        f"the cluster at {place.text} does not accept {which}: it trusts other authorities, or its clock finds it"
        " expired; its log says which"
    )


def _distrusted(place: _Place, files: TlsFiles, error: ssl.SSLCertVerificationError) -> str:
    whose = f"the certificate of the cluster at {place.text}"
    if error.verify_code == _EXPIRED:
        return f"{whose} has expired, or this machine's clock is wrong; renew it there (gradloom certs renew)"
    if error.verify_code == _NOT_YET:
        return f"{whose} is not valid yet, or this machine's clock is wrong"
    if error.verify_code in _OTHER_NAME:
        return (
            f"{whose} is not for {place.host!r}, {_names(place)}; call the cluster by a name in it, or issue it"
            f" again with --host {place.host}"
        )
    return f"{whose} comes from an authority that {files.ca} does not hold ({error.verify_message})"


def _other(place: _Place, shown: str, reason: str) -> str:
    if reason in NOT_TLS:
        return (
            f"the cluster at {place.text} speaks plain text, and this side TLS; start the coordinator with"
            " --tls-ca, --tls-cert and --tls-key, or leave them away here"
        )
    if "ALERT" in reason:
        return f"{_refused(place, shown)} ({reason.lower().replace('_', ' ')})"
    return f"the cluster at {place.text} and this side find no way to speak TLS ({reason.lower().replace('_', ' ')})"


def _names(place: _Place) -> str:
    """What a server's certificate is for, in words."""
    from cryptography import x509

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing that it says is believed, only told
    try:
        with place.connect() as plain, context.wrap_socket(plain) as wrapped:
            certificate = x509.load_der_x509_certificate(wrapped.getpeercert(binary_form=True) or b"")
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return "nor does it name any host"
    return f"but for {', '.join(str(name.value) for name in names)}"
