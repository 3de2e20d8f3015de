"""Which data a coordinator may have this worker read. It is asked of nobody: a worker guards its own machine."""

from gradloom.data.allowed import DataAllowed, allowed
from gradloom.settings import WorkerSettings
from gradloom.tls import leaves_the_machine


def readable(settings: WorkerSettings) -> DataAllowed:
    """What the settings allow. Raises InvalidInput for roots that mean nothing."""
    return allowed(settings.data_allow, loopback=not leaves_the_machine(settings.coordinator))
