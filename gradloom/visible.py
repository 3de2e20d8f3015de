"""What others have typed, for a terminal or a log: whatever would steer it, or fake a line of ours, is shown instead.

A name may hold ``ESC ] 0 ;`` (a terminal takes it for a title), a line end and "ERROR disk failed", or the mark that
has the rest of a line read from right to left. Such characters become their numbers, as ``\\x1b``. Pure.
"""

_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
_DIRECTIONS = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_LINE_ENDS = [0x2028, 0x2029]
_SHOWN = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*_CONTROLS, *_DIRECTIONS, *_LINE_ENDS)
    if chr(code) not in "\t\n"
}
_ONE_LINE = {**_SHOWN, ord("\n"): "\\n", ord("\t"): "\\t"}


def visible(text: str) -> str:
    """The text with its line ends and tabs, and nothing else that is no character to look at."""
    return _encodable(text).translate(_SHOWN)


def one_line(text: str) -> str:
    """The text with its line ends shown too."""
    return _encodable(text).translate(_ONE_LINE)


def indented(text: str) -> str:
    """Every line but the first one begins with two spaces: none of them looks like a line of its own."""
    return visible(text).replace("\n", "\n  ")


def _encodable(text: str) -> str:
    """Names of files may hold bytes that are no text; no stream takes those."""
    return text.encode("utf-8", "backslashreplace").decode()
