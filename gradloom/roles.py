"""What callers of a coordinator may be, and which of two roles lets one do less."""

from enum import StrEnum

from gradloom.errors import InvalidInput


class Role(StrEnum):
    """People: each may do what the ones before it may. Workers are apart: they may be workers, and nothing else."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    WORKER = "worker"


_RANKS = {Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}


def role_named(text: str) -> Role:
    """The role that a person wrote. Raises InvalidInput."""
    try:
        return Role(text.strip().lower())
    except ValueError:
        raise InvalidInput.unknown_name("role", text, [role.value for role in Role]) from None


def suffices(has: Role | None, needed: Role) -> bool:
    """Whether a caller with one role may do what needs another. None is no role at all."""
    if has is None or Role.WORKER in (has, needed):
        return has is needed
    return _RANKS[has] >= _RANKS[needed]


def least(one: Role, other: Role) -> Role | None:
    """What both roles allow together; None = nothing."""
    if suffices(one, other):
        return other
    return one if suffices(other, one) else None
