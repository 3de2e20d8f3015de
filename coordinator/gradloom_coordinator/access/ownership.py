"""Whose a worker's name is: theirs who held it first, for as long as the coordinator remembers that worker. Pure.

Any number of workers may share one identity, and where nobody is asked who they are all do.
"""

from gradloom.errors import NotAllowed


def check_owner(worker: str, owner: str, caller: str) -> None:
    """Raise NotAllowed unless ``caller`` is who joined under the name ``worker``; identities by name, empty = open."""
    if caller != owner:
        raise NotAllowed(
            f"the name {worker!r} belongs to a worker of {owner!r}, and {caller!r} can't take it;"
            " start this one with another --name"
        )
