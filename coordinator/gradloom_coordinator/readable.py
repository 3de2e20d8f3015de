"""Which data people may have this coordinator, and its workers, read for them. By names alone: nothing is opened."""

from gradloom.data.allowed import DataAllowed, allowed
from gradloom.data.manifest import Manifest
from gradloom.errors import DataNotAllowed, InvalidInput
from gradloom.settings import CoordinatorSettings
from gradloom.specs import DataSpec
from gradloom.tls import is_loopback


def readable(settings: CoordinatorSettings) -> DataAllowed:
    """What the settings allow. Raises InvalidInput for roots that mean nothing."""
    uploads = settings.upload_uri or str(settings.data_dir / "uploads")
    return allowed(settings.data_allow, loopback=is_loopback(settings.host), upload_folder=uploads)


def check_data(data: DataSpec, may_read: DataAllowed) -> None:
    """Refuse a job at once whose data nobody may read here. Raises InvalidInput naming data, value, what is allowed."""
    for uri in data.uris:
        try:
            may_read.check(uri)
        except DataNotAllowed as error:
            raise InvalidInput("data", f"{error.field!r} {error.problem}") from None


def check_files(manifest: Manifest, may_read: DataAllowed) -> None:
    """Refuse a plan from before a restart that what is allowed now forbids. Raises DataNotAllowed."""
    for file in manifest.files:
        may_read.check(file.uri)
