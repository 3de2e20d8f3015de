"""How a worker reaches its coordinator: a channel for each conversation, with the certificates of that moment."""

import asyncio
import logging

import grpc

from gradloom.addresses import Rotation, addresses_of
from gradloom.channels import trouble_with
from gradloom.connection import TOKEN_KEY
from gradloom.credentials import Certificates, expiry_of, open_aio_channel
from gradloom.settings import WorkerSettings, read_token
from gradloom.tls import check_target, leaves_the_machine
from gradloom.wire import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

WELCOME_LIMIT_S = 5.0
MOST_HURRY = 3
STATUS_KEY = "grpc-status-details-bin"
"""What a coordinator of ours refuses with."""
NOT_LET_IN = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
)
"""Every attempt to connect has a subchannel of its own: a shared one would remember gRPC's long backoff. A coordinator
that has vanished without a word is noticed within 2 + 3 s."""


class Line:
    """Opens channels to the coordinator, or to several in turn, and says why one does not come about.

    Raises InvalidInput where plain text would leave this machine, or a file of TLS or the token's is no good.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._was_let_in = False
        self.metadata()  # a file that is not there is told at once
        self._addresses = Rotation(addresses_of("coordinator", settings.coordinator))
        for address in addresses_of("coordinator", settings.coordinator):
            check_target("coordinator", address, settings.tls, insecure=settings.insecure)
        self._certificates = None if settings.tls is None else Certificates(settings.tls)
        if self._certificates is not None:
            log.info("mutual TLS with %s", self._certificates.newest())
        elif host := leaves_the_machine(settings.coordinator):
            log.warning("INSECURE: what is said with %s is neither encrypted nor signed (--insecure)", host)

    @property
    def address(self) -> str:
        """The one that ``open`` calls now."""
        return self._addresses.current

    @property
    def welcome_limit_s(self) -> float:
        """How long to wait for a Welcome: of several, one that hangs must not keep us from the one that leads."""
        return WELCOME_LIMIT_S / min(len(self._addresses), MOST_HURRY)

    def move_on(self) -> None:
        """Call the next one the next time."""
        self._addresses.move_on(self._addresses.current)

    def open(self) -> grpc.aio.Channel:
        """A channel of its own."""
        material = None if self._certificates is None else self._certificates.newest()
        return open_aio_channel(self.address, material, CHANNEL_OPTIONS)

    def certificate_ends_at(self) -> float:
        """When the certificate ends that the next channel would show, since the epoch; 0 = plain text."""
        return expiry_of(self._certificates)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What is shown with every call: the token, read anew, for it may have been replaced. Raises InvalidInput."""
        token = self._settings.token or read_token(self._settings.token_file or "")
        return ((TOKEN_KEY, f"Bearer {token}"),) if token else ()

    def reached(self) -> None:
        """The coordinator has let us in."""
        self._was_let_in = True

    def is_final(self, code: grpc.StatusCode) -> bool:
        """Whether a refusal would be the same the next time.

        A token that was good once may be replaced while we try; one that never was is a mistake to be told at once.
        """
        return code is grpc.StatusCode.FAILED_PRECONDITION or (code in NOT_LET_IN and not self._was_let_in)

    async def why(self, error: grpc.aio.AioRpcError) -> str:
        """What a call failed of, in words; gRPC's own for a refused certificate are of no use to people."""
        trouble, answered = "", any(key == STATUS_KEY for key, _ in error.trailing_metadata() or ())
        if error.code() is grpc.StatusCode.UNAVAILABLE and not answered:
            trouble = await asyncio.to_thread(trouble_with, self.address, self._certificates)
        return trouble or error.details() or str(error.code())
