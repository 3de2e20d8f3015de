"""The tokens that count now: the coordinator's file of them, read again when it has changed.

A file that can't be read takes nobody's access away and gives nobody any: what was read last counts on, loudly, again
every TELL_EVERY_S. It is read in a thread of its own, for whatever else hangs must not keep a token alive.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gradloom import token_file
from gradloom.errors import InvalidInput
from gradloom.token_file import Seen
from gradloom.tokens import TokenBook

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
LOOK_LIMIT_S = 5.0
"""How long a look may take: the file may lie on a mount that does not answer."""
TELL_EVERY_S = 60.0


class WatchedTokens:
    """The tokens of one file; ``clock`` gives seconds that only grow.

    Raises InvalidInput for a file that can't be read to begin with.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokens")
        self._looking: asyncio.Future[tuple[Seen, TokenBook] | None] | None = None
        self._seen: Seen | None = token_file.look(path)
        self._problem = ""
        self._told = 0.0
        self.book = token_file.read(path)
        log.info("%d token(s) of %s", len(self.book.tokens), path)

    async def look(self) -> bool:
        """Read the file again if it has changed; whether the tokens did. Takes LOOK_LIMIT_S at most."""
        try:
            read = await self._in_time()
        except InvalidInput as error:
            self._tell(error.message)
            return False
        self._problem = ""
        if read is None:
            return False
        self._seen, book = read
        changed, before, self.book = book.tokens != self.book.tokens, len(self.book.tokens), book
        if changed:
            log.info("%d token(s) of %s now, %d before", len(book.tokens), self._path, before)
        return changed

    async def _in_time(self) -> tuple[Seen, TokenBook] | None:
        if self._looking is None:
            loop = asyncio.get_running_loop()
            self._looking = loop.run_in_executor(self._thread, self._newest)
        # a look that hangs is waited for again the next time, and no other one is begun
        done, _ = await asyncio.wait({self._looking}, timeout=LOOK_LIMIT_S)
        if not done:
            raise InvalidInput(
                token_file.FIELD, f"{self._path} can't be read: no answer within {LOOK_LIMIT_S:g} s"
            )
        looked, self._looking = self._looking, None
        return looked.result()

    def _tell(self, problem: str) -> None:
        now = self._clock()
        if problem != self._problem or now - self._told >= TELL_EVERY_S:
            log.error(
                "the tokens that were read last count on, REVOKED ONES TOO and new ones do not, for %s",
                problem,
            )
            self._told = now
        self._problem = problem

    def _newest(self) -> tuple[Seen, TokenBook] | None:
        seen = token_file.look(self._path)
        if seen == self._seen and not self._problem:
            return None
        return seen, token_file.read(self._path)
