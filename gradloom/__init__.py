"""gradloom: distributed machine learning that people can watch, steer and trust.

The names below are loaded when they are first used: ``import gradloom`` by itself imports nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradloom.client import Client
    from gradloom.local import LocalCluster
    from gradloom.models import load_model

    __version__: str

__all__ = ["Client", "LocalCluster", "__version__", "load_model"]

_HOMES = {"Client": "gradloom.client", "LocalCluster": "gradloom.local", "load_model": "gradloom.models"}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name == "__version__":
        value = _installed_version()
    else:
        raise AttributeError(f"module 'gradloom' has no attribute {name!r}")
    globals()[name] = value
    return value


def _installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("gradloom")
    except PackageNotFoundError:  # used straight from a checkout
        return "0+uninstalled"
