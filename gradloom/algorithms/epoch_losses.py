"""When epochs no longer lower the loss: what stochastic training ends by, where one batch says little. Pure."""

from dataclasses import dataclass, replace
from math import inf
from typing import Self

MUCH = 0.1
"""Of the first loss: no epoch that ends near its minimum is so much above another."""


@dataclass(frozen=True, slots=True, eq=False)
class EpochLosses:
    """The losses of epochs so far."""

    first: float = inf
    """Of the first round, before any step."""
    total: float = 0.0
    weight: float = 0.0
    """Sums over the rounds of this epoch."""
    last: float = inf
    """Of the last epoch that ended."""
    best: float = inf
    without_better: int = 0
    """Epochs in a row."""

    def seen(self, loss: float, weight: float) -> Self:
        """After one more round, whose rows have this weight and mean loss."""
        first = loss if self.first == inf else self.first
        return replace(self, first=first, total=self.total + loss * weight, weight=self.weight + weight)

    @property
    def rose(self) -> bool:
        """Whether the last epoch is worse than the best point before by much of what there was to lower."""
        return self.last > min(self.first, self.best + MUCH * self.first)

    def ended(self, validation_loss: float | None, tolerance: float) -> Self:
        """At the end of an epoch: its loss is that of the validation rows, or if there are none its own mean."""
        loss = self.total / self.weight if validation_loss is None else validation_loss
        better = loss < self.best - tolerance
        return replace(
            self,
            total=0.0,
            weight=0.0,
            last=loss,
            best=min(loss, self.best),
            without_better=0 if better else self.without_better + 1,
        )
