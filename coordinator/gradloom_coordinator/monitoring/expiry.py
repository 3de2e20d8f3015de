"""When the coordinator's certificate ends, for Prometheus. It reads files, in the thread of whoever scrapes."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gradloom.credentials import Certificates, expiry_of

NAME = "gradloom_tls_certificate_expiry_timestamp_seconds"
HELP = "When the certificate ends that this process shows, renewed ones included; 0: it speaks plain text."


class CertificateExpiry(Collector):
    """Of one process; None = it has no certificate."""

    def __init__(self, certificates: Certificates | None) -> None:
        self._certificates = certificates

    def collect(self) -> Iterator[Metric]:
        """The gauge."""
        yield GaugeMetricFamily(NAME, HELP, value=expiry_of(self._certificates))
