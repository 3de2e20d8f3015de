"""Between values and bytes: the only modules of the library that know the generated stubs, beside the client."""

PROTOCOL_VERSION = 1
"""Raised when an older worker could not understand a newer coordinator, or the other way round."""
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Of what anybody takes: arrays travel in frames of 2 MiB, only descriptions are messages."""
