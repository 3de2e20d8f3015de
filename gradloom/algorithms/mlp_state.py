"""Where the training of a perceptron stands, and how its losses are kept in mind."""

from dataclasses import dataclass, replace
from math import inf
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gradloom.optimizers.first_order import FirstOrderState
from gradloom.schema import Schema

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class MlpState:
    """Where the training stands."""

    schema: Schema
    optimizer: FirstOrderState
    round: int = 0
    epoch: int = 0
    step: int = 0
    """Batches of this epoch that were taken."""
    steps: int = 1
    """Batches of this epoch; another batch size counts from the next one on."""
    measured: bool = False
    """Whether center and scale are known: the first round finds them for a regression."""
    target_center: float = 0.0
    target_scale: float = 1.0
    batches_seen: int = 0
    """Rounds that had a loss."""
    loss: float | None = None
    """Mean over the batches of about the last epoch, penalty included."""
    epoch_loss: float = 0.0
    epoch_weight: float = 0.0
    """Sums over the batches of this epoch."""
    validated: int = 0
    """Epochs after which the validation rows were looked at."""
    validation_loss: float | None = None
    best_loss: float = inf
    best_parameters: Vector | None = None
    """Those with the best validation loss; kept only with ``patience``."""
    epochs_without_better: int = 0

    @property
    def epochs(self) -> float:
        """How often the rows were seen."""
        return self.epoch + self.step / self.steps

    def advanced(self, taken: int, steps_per_epoch: int) -> Self:
        """So many batches later; epochs that begin now have ``steps_per_epoch`` of them."""
        ended, step = divmod(self.step + taken, self.steps)
        if not ended:
            return replace(self, step=step)
        return replace(
            self,
            epoch=self.epoch + ended,
            step=step * steps_per_epoch // self.steps,
            steps=steps_per_epoch,
            epoch_loss=0.0,
            epoch_weight=0.0,
        )

    def seen(self, loss: float, weight: float, memory: int) -> Self:
        """The loss of a batch of this weight, worked into the means; the running one looks ``memory`` rounds back."""
        seen = self.batches_seen + 1
        before = loss if self.loss is None else self.loss
        return replace(
            self,
            batches_seen=seen,
            loss=before + (loss - before) / min(memory, seen),
            epoch_loss=self.epoch_loss + loss * weight,
            epoch_weight=self.epoch_weight + weight,
        )

    def judged(self, loss: float, tolerance: float) -> Self:
        """The loss of an epoch, held against the best one before."""
        better = loss < self.best_loss - tolerance
        return replace(
            self,
            best_loss=min(loss, self.best_loss),
            epochs_without_better=0 if better else self.epochs_without_better + 1,
        )
