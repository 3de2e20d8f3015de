"""Every error that gradloom raises on purpose, as one small tree.

::

    GradloomError
    ├── InvalidInput            a value that was given is wrong: field, value, what is allowed
    │   ├── InvalidParameter    of an estimator, or what it is given; a ValueError too
    │   └── DataError           the data does not hold what was asked of it: file, column, cell
    │       ├── DataUnreachable a file can't be opened from here; from elsewhere it may be
    │       │   └── StorageAway what holds it does not answer now; later it may
    │       ├── DataNotAllowed  it lies where this service may not read for others
    │       └── ShardChanged    a file is not the one that the job was planned on
    ├── NotFound                no such job, worker or file
    │   └── EventsGone          those events of a job are no longer kept
    ├── Conflict                the thing exists already, or its state forbids the call
    │   ├── AlreadyExists       the client token was used for another specification
    │   └── Outdated            the job was changed since it was looked at
    ├── Unauthenticated         the cluster does not know who calls: no token, or no good one
    ├── NotAllowed              it does, and the caller's role may not do that
    ├── VersionMismatch         the two sides speak different versions
    ├── Unavailable             the cluster can't be reached, or can't take more now
    │   ├── NotInTime           there was no answer within the time that was given
    │   ├── NotLeading          this coordinator stands by; another one leads, or is about to
    │   ├── NotTrusted          no secure connection: a certificate was refused, or one side speaks plain text
    │   └── Overloaded          it is there, but holds as many jobs or workers as it may
    │       └── TooManyCalls    this caller asks for too much at a time
    ├── JobFailed               the job ended without a model; says which shard, rows and worker
    │   └── JobCancelled
    ├── ModelFileError          a model file is cut short, foreign, or too new
    │   ├── WrongKey            it is encrypted, and its key is not here
    │   └── SealBroken          it is encrypted, and was changed or cut
    └── WireError               bytes that arrived are not what was sent
        ├── ChecksumMismatch
        └── FrameRefused        a frame is malformed, or larger than the limit

Asserts are for our own bugs; these are for the world's. ``gradloom.status`` translates them to and from
gRPC status. Messages are one clear sentence: what was wrong, and what would be right.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class GradloomError(Exception):
    """The root: catching it catches everything that gradloom raises on purpose."""

    @property
    def message(self) -> str:
        """The sentence that people read."""
        return str(self)


class InvalidInput(GradloomError):
    """A value that a person gave is wrong.

    ``field`` names it as the person would write it; ``problem`` is the rest of the sentence.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem

    @classmethod
    def unknown_name(cls, field: str, given: str, allowed: Iterable[str]) -> "InvalidInput":
        """Refuse a name that is not among the known ones, and suggest the nearest."""
        names = sorted(map(str, allowed))
        near = get_close_matches(given, names, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return cls(field, f"{given!r} is not known; allowed: {', '.join(names)}.{hint}")


class InvalidParameter(InvalidInput, ValueError):
    """A parameter of an estimator, or what its methods are given, is wrong or not supported.

    A ValueError as well: that is what scikit-learn raises, and what its tools catch.
    """


class DataError(InvalidInput):
    """The data does not hold what was asked of it. ``field`` names the file or the column."""


class DataUnreachable(DataError):
    """A file can't be opened from this machine. ``field`` is its URI."""


class StorageAway(DataUnreachable):
    """What holds the file does not answer, or has trouble of its own; later it may do better."""


class DataNotAllowed(DataError):
    """It lies where this service may not read for other people. ``field`` is its URI."""


class ShardChanged(DataError):
    """A file is not the one that the job was planned on. ``field`` is its URI."""


class NotFound(GradloomError):
    """No such job, worker or file."""


class EventsGone(NotFound):
    """The events that were asked for are no longer kept."""


class Conflict(GradloomError):
    """The thing exists already with other content, or its state forbids the call."""


class AlreadyExists(Conflict):
    """The client token was used before, for another specification."""


class Outdated(Conflict):
    """The job was changed since the caller looked at it."""


class Unauthenticated(GradloomError):
    """The cluster does not know who calls. The message says what it wants to see."""


class NotAllowed(GradloomError):
    """The caller is known, and its role may not do that. The message says which role may."""


class VersionMismatch(GradloomError):
    """Two sides speak different versions of the protocol or of an algorithm."""


class Unavailable(GradloomError):
    """The cluster can't be reached, or can't take more work now; trying again later may help."""


class NotInTime(Unavailable):
    """There was no answer within the time that was given for it."""


class NotTrusted(Unavailable):
    """No secure connection comes about: one side refuses the other's certificate, or speaks plain text."""


class NotLeading(Unavailable):
    """The coordinator that was asked does not lead: it stands by, or has lost its lease."""


class Overloaded(Unavailable):
    """The cluster is there, but holds as many jobs or workers as it may."""


class TooManyCalls(Overloaded):
    """This caller asks for more at a time than one may; the cluster is there for others."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class JobFailed(GradloomError):
    """The job ended without a model. The message names the reason, shard, rows, worker and exception."""


class JobCancelled(JobFailed):
    """Somebody cancelled the job."""


class ModelFileError(GradloomError):
    """A model file can't be read: cut short, not a gradloom model, or written by a newer version."""


class WrongKey(ModelFileError):
    """A file is encrypted with a key that is not here. The message names the key's id, never the key."""


class SealBroken(ModelFileError):
    """An encrypted file is damaged, cut short, or was changed."""


class WireError(GradloomError):
    """Bytes that arrived are not what was sent."""


class ChecksumMismatch(WireError):
    """The checksum of a payload differs from the one in its header."""


class FrameRefused(WireError):
    """A frame is malformed, or larger than the limit."""
