"""Queries of one job that wait, and how they are put together for one round. Pure but for the futures that wait.

First come, first served: a round takes the first queries as long as they can share one and fit into a tile. Whoever no
longer waits (its future is done) is passed over. What may wait is bounded: who comes too late hears so at once.
"""

from asyncio import Future, TimerHandle
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from gradloom.algorithms.serving import Posed, ServesQueries
from gradloom.errors import GradloomError, Overloaded
from gradloom.nearest.answers import Answer

MAX_WAITING_ROWS = 16_384
"""Rows of queries of one job: about sixteen rounds of answers."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One query, or a part of one, that waits for its answer."""

    posed: Posed
    answer: "Future[Answer]"


@dataclass(slots=True)
class Desk:
    """The queries of one job."""

    waiting: deque[Waiting] = field(default_factory=deque)
    rows: int = 0
    """Of those that wait."""
    asked: Sequence[Waiting] = ()
    """Those that the open round answers; empty = no round is open."""
    closes: TimerHandle | None = None
    """What ends the job if nobody asks for too long."""

    def busy(self) -> None:
        """Somebody asks: the job goes on serving."""
        if self.closes is not None:
            self.closes.cancel()
            self.closes = None

    def put(self, queries: Sequence[Waiting]) -> None:
        """Let queries wait, all of them or none. Raises Overloaded."""
        rows = sum(len(one.posed) for one in queries)
        if self.waiting and self.rows + rows > MAX_WAITING_ROWS:
            raise Overloaded(
                f"{self.rows} rows of queries wait already; at most {MAX_WAITING_ROWS} may: try again"
            )
        self.waiting.extend(queries)
        self.rows += rows

    def next_tile(self, algorithm: ServesQueries) -> Sequence[Posed]:
        """What the next round asks; empty if nobody waits."""
        chosen: list[Waiting] = []
        rows, most = 0, MAX_WAITING_ROWS
        while self.waiting:
            one = self.waiting[0]
            if not one.answer.done():
                question, n_rows = one.posed.question, len(one.posed)
                fewest = min(most, algorithm.tile_rows(question))
                fits = not chosen or (
                    algorithm.share_a_round(chosen[0].posed.question, question) and rows + n_rows <= fewest
                )
                if not fits:
                    break
                chosen.append(one)
                rows, most = rows + n_rows, fewest
            self.rows -= len(self.waiting.popleft().posed)
        self.asked = chosen
        return [one.posed for one in chosen]

    def settle(self, answers: Sequence[Answer | GradloomError]) -> None:
        """The open round is over: tell everybody who still waits for its answers."""
        for one, answer in zip(self.asked, answers, strict=True):
            _tell(one, answer)
        self.asked = ()

    def refuse(self, error: GradloomError) -> None:
        """Nobody is answered any more."""
        self.busy()
        for one in (*self.asked, *self.waiting):
            _tell(one, error)
        self.asked, self.rows = (), 0
        self.waiting.clear()


def _tell(one: Waiting, answer: Answer | GradloomError) -> None:
    if one.answer.done():
        return
    if isinstance(answer, GradloomError):
        one.answer.set_exception(answer)
    else:
        one.answer.set_result(answer)
