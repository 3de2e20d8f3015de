"""The curves of a job, thinned out as they grow: 10,000 rounds take no more room than MAX_POINTS. Pure."""

from dataclasses import dataclass, field, replace

from gradloom.jobs import RoundCompleted

MAX_POINTS = 600


@dataclass(frozen=True, slots=True)
class Point:
    """A round, and those after it that it stands for."""

    round: int
    loss: float | None
    validation_loss: float | None
    seconds: float
    """The longest of these rounds: what is slow now and then must stay in sight."""
    gradient_norm: float | None = None
    learning_rate: float | None = None


@dataclass(slots=True)
class Series:
    """Rounds in groups of ``stride``, each shown by its first one; the newest round is always there.

    Once there are MAX_POINTS groups, two become one. What is shown depends only on the rounds, not on when they came.
    """

    stride: int = 1
    _kept: list[Point] = field(default_factory=list)
    _newest: Point | None = None

    def add(self, done: RoundCompleted) -> None:
        """Take in the next round. One that was there already (a rollback, a restart) takes the place of all since."""
        new = Point(
            done.round,
            done.loss,
            done.validation_loss,
            done.seconds,
            done.gradient_norm,
            done.learning_rate,
        )
        while self._kept and self._kept[-1].round >= new.round:
            self._kept.pop()
        self._newest = new
        self._put(new)
        if len(self._kept) >= MAX_POINTS:
            self.stride *= 2
            before, self._kept = self._kept, []
            for point in before:
                self._put(point)

    @property
    def points(self) -> tuple[Point, ...]:
        """At most MAX_POINTS, by their rounds, which rise."""
        if self._newest is None or self._kept[-1].round == self._newest.round:
            return tuple(self._kept)
        return (*self._kept, self._newest)

    def _put(self, point: Point) -> None:
        last = self._kept[-1] if self._kept else None
        if last is None or self._group(last) != self._group(point):
            self._kept.append(point)
        elif point.seconds > last.seconds:
            self._kept[-1] = replace(last, seconds=point.seconds)

    def _group(self, point: Point) -> int:
        return (point.round - 1) // self.stride
