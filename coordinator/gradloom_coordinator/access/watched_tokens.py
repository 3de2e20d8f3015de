"""The tokens that count now: the coordinator's file of them, read again when it has changed.

A file that can't be read takes nobody's access away and gives nobody any: what was read last counts on, loudly.
"""

import asyncio
import logging
from pathlib import Path

from gradloom import token_file
from gradloom.errors import InvalidInput
from gradloom.token_file import Seen
from gradloom.tokens import TokenBook

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0


class WatchedTokens:
    """The tokens of one file. Raises InvalidInput for one that can't be read to begin with."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Seen | None = token_file.look(path)
        self._problem = ""
        self.book = token_file.read(path)
        log.info("%d token(s) of %s", len(self.book.tokens), path)

    async def look(self) -> bool:
        """Read the file again if it has changed; whether the tokens did."""
        try:
            read = await asyncio.to_thread(self._newest)
        except InvalidInput as error:
            if error.message != self._problem:
                log.error("the tokens that were read last count on, for %s", error.message)  # noqa: TRY400
            self._problem = error.message
            return False
        self._problem = ""
        if read is None:
            return False
        self._seen, book = read
        changed, before, self.book = book.tokens != self.book.tokens, len(self.book.tokens), book
        if changed:
            log.info("%d token(s) of %s now, %d before", len(book.tokens), self._path, before)
        return changed

    def _newest(self) -> tuple[Seen, TokenBook] | None:
        seen = token_file.look(self._path)
        if seen == self._seen and not self._problem:
            return None
        return seen, token_file.read(self._path)
