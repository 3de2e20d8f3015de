"""What is said where a package is missing that only one of gradloom's extras brings."""

from gradloom.errors import InvalidInput


def missing(what: str, package: str, extra: str) -> InvalidInput:
    """The refusal of ``what``, with the cure."""
    return InvalidInput(what, f"needs {package}, which is not installed: pip install 'gradloom[{extra}]'")
