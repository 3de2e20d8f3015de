"""What workers have left out of their gradients, gathered for a checkpoint and handed out again after a restart. Pure.

A checkpoint that is due waits for one more round. In that round every counted answer brings what its worker leaves
out from then on; added up over the answers that is all there is, in as many bytes as one gradient in float32:

    sum of all that was sent + what was gathered = sum of all gradients, up to that round

A job that goes on from the checkpoint sends what was gathered with its first message, and each task takes up the part
that its shards are of all: once for every shard, however often a task is tried, because the answer that counts has it.
"""

from dataclasses import dataclass, field

from gradloom.tensors import Tensors
from gradloom_coordinator.scheduling.events import TaskRef, WorkerId

NEVER = -1


@dataclass(slots=True)
class Gathering:
    """Of one job."""

    asked: bool = False
    """Whether answers to the open round bring what was left out."""
    tensors: Tensors = field(default_factory=dict)
    """What was left out up to ``iteration``."""
    iteration: int = NEVER
    hands_out: bool = False
    """Whether ``tensors`` go with the next message."""
    missing: int = 0
    """Workers that hold something which is not in ``tensors``."""
    owed: int = 0
    """Shards of the open round whose part of what is handed out has not been counted."""
    _round: int = 0
    _wanted: bool = False
    _sum: Tensors = field(default_factory=dict)
    """Over the answers to the open round."""
    _holders: frozenset[WorkerId] = frozenset()

    def want(self) -> None:
        """Have the next round bring what is left out."""
        self._wanted = True

    def open_round(self, round_number: int, n_shards: int, holders: frozenset[WorkerId]) -> None:
        """A round is prepared, perhaps anew, while these workers hold something back."""
        self.asked, self._round, self._holders = self._wanted, round_number, holders
        self.owed = n_shards if self.hands_out else 0
        self._sum = {}

    def counted(self, worker: WorkerId, task: TaskRef, left_over: Tensors, *, holds_back: bool) -> None:
        """An answer is part of the sum; ``holds_back``: its worker holds more than it has taken up."""
        if task.round != self._round:  # it was carried over, and knows nothing of this one
            return
        self.owed = max(0, self.owed - task.range.size)
        if not self.asked:
            return
        if not holds_back:
            self._holders -= {worker}
        self._sum = _added(self._sum, left_over)

    def end_round(self, iteration: int) -> bool:
        """The round has led to that iteration: what was handed out is with the workers again; whether some is lost."""
        lost = self.owed > 0
        if self.asked:
            gathered, missing = self._sum, len(self._holders)
            self.drop()
            self.tensors, self.iteration, self.missing = gathered, iteration, missing
        else:
            self.drop()
        return lost

    def restore(self, tensors: Tensors, iteration: int) -> None:
        """Go on from a checkpoint of that iteration, with nothing asked for."""
        self.drop()
        self.tensors, self.iteration, self.hands_out = tensors, iteration, bool(tensors)

    def drop(self) -> None:
        """Forget the arrays."""
        self.tensors, self.iteration, self.missing, self.hands_out = {}, NEVER, 0, False
        self.asked = self._wanted = False
        self.owed, self._sum = 0, {}


def _added(left: Tensors, right: Tensors) -> Tensors:
    """Both, tensor by tensor; one of them may lack some."""
    total = dict(left)
    for name, array in right.items():
        total[name] = total[name] + array if name in total else array
    return total
